"""``python -m training``: an ensemble, or a message that says what to change."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.store import Store
from training.__main__ import main
from training.recipe import BOUNDS

TINY = [
    *("--dataset", "noise", "--student", "resnet8", "--name", "mine", "--batch-size", "16"),
    *("--members", "1", "--epochs", "1", "--validation-fraction", "0.25", "--precision", "fp32"),
]


def command(data: Path, store: Path, *options: str) -> list[str]:
    return ["--data", str(data), "--store", str(store), *TINY, *options]


def python(arguments: list[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "training", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def id_in(output: str) -> str:
    found = re.search(r"^ensemble: (\S+)$", output, re.MULTILINE)
    assert found, output
    return found[1]


def test_it_leaves_an_ensemble_and_prints_its_id(data: Path, tmp_path: Path) -> None:
    teacher = ("--teacher", "resnet8", "--teacher-epochs", "1")
    with python(command(data, tmp_path / "store", *teacher)) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    manifest = Store(tmp_path / "store").manifest(id_in(output))
    assert manifest.name == "mine"
    assert manifest.recipe["teacher"] == {"student": "resnet8", "epochs": 1}
    for line in (r"teacher: epoch 1/1  loss \d", r"member 0: epoch 1/1 .*validation accuracy \d"):
        assert re.search(line, errors)
    for line in (r"validation: members \d.*together \d", r"test: members \d", r"serving: "):
        assert re.search(line, output)


def test_interrupted_it_says_so_and_the_same_command_goes_on(data: Path, tmp_path: Path) -> None:
    arguments = command(data, tmp_path / "store", "--no-teacher", "--epochs", "40")
    # Where this test's own process ignores the signal, as a shell's background jobs do, the
    # command would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = python(arguments)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any("epoch 1/40" in line for line in lines)
        process.send_signal(signal.SIGINT)
        said = list(lines)
    assert process.returncode == 130
    assert said[-1] == "interrupted; the same command goes on from the last epoch\n"
    assert not (tmp_path / "store" / "ensembles").exists()

    with python(arguments) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert re.search(r"member 0: goes on after epoch \d+\n", errors)
    assert "member 0: epoch 40/40" in errors
    assert "member 0: epoch 1/40" not in errors
    assert len(Store(tmp_path / "store").load(id_in(output)).members) == 1


# What is refused. These run in this process, since starting Python takes most of their time.


def test_a_bad_recipe_names_every_field(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = ("--members", "0", "--learning-rate", "nan", "--student", "vgg8", "--teacher-epochs", "0")
    assert main(command(data, tmp_path / "store", *bad)) == 2
    said = [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()]
    assert sorted(said) == ["learning_rate", "members", "student", "teacher.epochs"]
    assert not (tmp_path / "store").exists()


def test_missing_data_names_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "nowhere", tmp_path / "store")) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith(f"error: {tmp_path}/nowhere/noise: there is no such")


def test_a_store_that_cannot_be_written_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").write_text("a file")
    assert main(command(data, tmp_path / "store", "--no-teacher")) == 1
    assert f"error: {tmp_path}/store/runs/cli-" in capsys.readouterr().err


@pytest.mark.parametrize("teacher", [["--no-teacher"], ["--teacher-ensemble", "x"]])
@pytest.mark.parametrize("epochs", ["0", "5"])
def test_epochs_of_a_teacher_that_is_not_trained_contradict(
    teacher: list[str], epochs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--data", "x", "--store", "x", *teacher, "--teacher-epochs", epochs])
    assert ended.value.code == 2
    assert "--teacher-epochs: only for a teacher that is trained here" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--no-teacher", "--teacher", "resnet20"],
        ["--teacher-ensemble", "x", "--teacher", "resnet20"],
        ["--epochs", "many"],
        ["--preset", "best"],
        ["--lr", "1"],
    ],
)
def test_what_the_options_do_not_allow_ends_with_usage(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--data", "x", "--store", "x", *options])
    assert ended.value.code == 2
    assert "usage: python -m training" in capsys.readouterr().err


def test_help_names_every_number_of_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    for field in BOUNDS:
        assert f"--{field.replace('_', '-').replace('.', '-')} " in said
