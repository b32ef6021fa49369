"""``python -m training``: an ensemble, or a message that says what to change."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.store import Store
from training.__main__ import _parser, _recipe, main
from training.bounds import BOUNDS
from training.recipe import PRESETS, EnsembleTeacher, Teacher, TrainedTeacher

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
        env={**os.environ, "OMP_NUM_THREADS": "2"},  # two members train at once, in threads
    )


def id_in(output: str) -> str:
    found = re.search(r"^ensemble: (\S+)$", output, re.MULTILINE)
    assert found, output
    return found[1]


def test_it_leaves_an_ensemble_and_prints_its_id(data: Path, tmp_path: Path) -> None:
    teacher = ("--teacher", "resnet8:1")
    with python(command(data, tmp_path / "store", *teacher)) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    manifest = Store(tmp_path / "store").manifest(id_in(output))
    assert manifest.name == "mine"
    assert manifest.recipe["teacher"] == {"student": "resnet8", "epochs": 1, "seed": 0}
    for line in (
        r"plan: 1 one by one on cpu in fp32, 16 pictures at a time; ",
        r"teacher 0: epoch 1/1  loss \d",
        r"member 0: epoch 1/1 .*validation accuracy \d",
    ):
        assert re.search(line, errors)
    for line in (r"validation: members \d.*together \d", r"test: members \d", r"serving: "):
        assert re.search(line, output)


def test_interrupted_it_says_so_and_the_same_command_goes_on(data: Path, tmp_path: Path) -> None:
    two = ("--teacher", "none", "--epochs", "40", "--members", "2")
    arguments = command(data, tmp_path / "store", *two)
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
        missing = {"member 0: epoch 1/40", "member 1: epoch 1/40"}
        while missing:  # both have a checkpoint, whichever was first
            line = next(lines)
            missing = {words for words in missing if words not in line}
        process.send_signal(signal.SIGINT)
        said = list(lines)
    assert process.returncode == 130
    assert said[-1] == "interrupted; the same command goes on from the last epoch\n"
    assert not (tmp_path / "store" / "ensembles").exists()

    with python(arguments) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    for member in ("member 0", "member 1"):
        assert re.search(rf"{member}: goes on after epoch \d+\n", errors)
        assert f"{member}: epoch 40/40" in errors
    assert "epoch 1/40" not in errors
    assert len(Store(tmp_path / "store").load(id_in(output)).members) == 2


# What is refused. These run in this process, since starting Python takes most of their time.


def test_a_bad_recipe_names_every_field(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = ("--members", "0", "--learning-rate", "nan", "--student", "vgg8", "--teacher", "vgg8:0")
    assert main(command(data, tmp_path / "store", *bad)) == 2
    said = [line.split(": ")[1] for line in capsys.readouterr().err.splitlines()]
    assert sorted(said) == [
        *("learning_rate", "members", "student", "teacher.epochs", "teacher.student")
    ]
    assert not (tmp_path / "store").exists()


def test_missing_data_names_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path / "nowhere", tmp_path / "store")) == 1
    said = capsys.readouterr().err
    assert said.splitlines()[-1].startswith(f"error: {tmp_path}/nowhere/noise: there is no such")


def test_a_store_that_cannot_be_written_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "store").write_text("a file")
    assert main(command(data, tmp_path / "store", "--teacher", "none")) == 1
    assert f"error: {tmp_path}/store/runs/cli-" in capsys.readouterr().err


def test_training_that_does_not_fit_says_what_it_needs_and_the_limit(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--teacher", "none", "--memory-limit-bytes", "1000000")
    assert main(command(data, tmp_path / "store", *small)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"error: one resnet8 needs [\d,]+ bytes .*; the limit is 1,000,000", said)


# Teachers.


def teachers_of(*options: str) -> tuple[Teacher, ...]:
    return _recipe(_parser().parse_args(["--data", "x", "--store", "x", *options])).teacher


@pytest.mark.parametrize(
    ("options", "teachers"),
    [
        ([], PRESETS["default"].teacher),
        (["none"], ()),
        (["resnet8:1"], (TrainedTeacher("resnet8", 1),)),
        (["resnet8:1:7"], (TrainedTeacher("resnet8", 1, seed=7),)),
        (["@mine-1234"], (EnsembleTeacher("mine-1234"),)),
        (
            ["resnet8:1", "resnet8:1:7", "@mine-1234"],
            (
                TrainedTeacher("resnet8", 1),
                TrainedTeacher("resnet8", 1, seed=7),
                EnsembleTeacher("mine-1234"),
            ),
        ),
    ],
)
def test_teachers_are_named_one_by_one(options: list[str], teachers: tuple[Teacher, ...]) -> None:
    assert teachers_of(*(word for name in options for word in ("--teacher", name))) == teachers


def test_an_ensemble_that_is_not_there_cannot_teach(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(data, tmp_path / "store", "--teacher", "@gone")) == 2
    assert "no ensemble has the id 'gone'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--teacher", "resnet20"],
        ["--teacher", "resnet20:many"],
        ["--teacher", "resnet20:1:2:3"],
        ["--teacher", ""],
        ["--memory-limit-bytes", "lots"],
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
        if field.startswith("teacher."):
            continue  # a part of what --teacher takes
        assert f"--{field.replace('_', '-').replace('.', '-')} " in said
