"""Each command against the service as it runs with a worker, on a pipe and on a terminal."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from app.client import Stillhouse
from tests.launcher import Launcher
from tests.service import picture
from tests.stillhouse import COLOUR, Done, OnATerminal, on_a_pipe
from tests.tiny import COLOURS, write_dataset

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]

TINY = [
    *("--dataset", "noise", "--student", "resnet8", "--members", "2", "--teacher", "none"),
    *("--teacher-views", "0", "--optimiser", "sgd", "--distillation-loss", "kl"),
    *("--epochs", "2", "--batch-size", "16", "--learning-rate", "0.05", "--precision", "fp32"),
    *("--validation-fraction", "0.25", "--promote", "never"),
]


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    folder = tmp_path_factory.mktemp("cli")
    write_dataset(folder / "data" / "noise", train=12, test=4)
    launcher = Launcher(folder / "store", folder / "data", STILLHOUSE_SWEEP_SECONDS="0.5")
    launcher.start()
    yield launcher
    launcher.stop()
    launcher.client.close()


@pytest.fixture(scope="module")
def url(launcher: Launcher) -> str:
    return launcher.address


@pytest.fixture(scope="module")
def trained(url: str) -> tuple[str, str]:
    """A job that was asked for and watched on a pipe, and its ensemble, which serves."""
    done = on_a_pipe(url, "distill", *TINY, "--follow")
    assert done.status == 0, done
    facts = dict(line.split("\t") for line in done.out.splitlines() if "\t" in line)
    lines = [line for line in done.out.splitlines() if ": epoch " in line]
    assert sorted(line.split(", loss")[0] for line in lines) == [
        f"member {n}: epoch {e}" for n in range(2) for e in (1, 2)
    ]
    assert facts["status"] == "succeeded"
    assert on_a_pipe(url, "promote", facts["ensemble"]).status == 0
    return facts["job"], facts["ensemble"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "below").mkdir()
    for number, name in enumerate(("a.png", "b.JPG", "below/c.png")):
        kind = "JPEG" if name.endswith("JPG") else "PNG"
        (folder / name).write_bytes(picture(number, kind))
    (folder / "notes.txt").write_text("no picture")
    return folder


def shown(url: str, *arguments: str, **settings: str) -> tuple[Done, str]:
    """Run on a terminal; return what was left, and what it showed with its colours."""
    running = OnATerminal(url, *arguments, settings=settings)
    return running.end(), running.shown


# Pictures.


@pytest.mark.usefixtures("trained")
def test_pictures_of_files_folders_patterns_and_stdin_are_answered(
    url: str, pictures: Path
) -> None:
    folder = str(pictures)
    asked = [f"{folder}/a.png", folder, f"{folder}/*/*.png", "-"]
    done = on_a_pipe(url, "predict", *asked, sent=picture(9))
    assert (done.status, done.err) == (0, "")
    head, *rows = csv.reader(io.StringIO(done.out), "excel-tab")
    assert head == ["picture", "label", "probability", "doubt"]
    names = [row[0].removeprefix(f"{folder}/") for row in rows]
    assert names == ["a.png", "a.png", "b.JPG", "below/c.png", "below/c.png", "-"]
    assert {row[1] for row in rows} <= set(COLOURS)
    assert all(row[3].endswith("of 2 members agree") for row in rows)


@pytest.mark.usefixtures("trained")
def test_a_picture_that_fails_is_named_and_the_others_are_answered(
    url: str, pictures: Path, tmp_path: Path
) -> None:
    bad, none = tmp_path / "bad.png", tmp_path / "none.png"
    bad.write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    asked = [bad, pictures / "a.png", none, tmp_path / "empty"]
    done = on_a_pipe(url, "predict", *map(str, asked))
    assert done.status == 1
    assert [line.split("\t")[0] for line in done.out.splitlines()[1:]] == [str(pictures / "a.png")]
    told = done.err.splitlines()
    assert told[0].startswith(f"{bad}: this is no picture")
    assert told[1] == f"{none}: No such file or directory"
    assert told[2].startswith(f"{tmp_path}/empty: holds none of .bmp, ")


def test_answers_as_json_and_csv(url: str, trained: tuple[str, str], pictures: Path) -> None:
    options = ["--top-k", "2", "--max-members", "1", "--mode", "exact"]
    done = on_a_pipe(url, "predict", str(pictures), *options, "--json")
    told = [json.loads(line) for line in done.out.splitlines()]
    assert [each["picture"] for each in told] == [
        str(pictures / n) for n in ("a.png", "b.JPG", "below/c.png")
    ]
    assert {(each["ensemble"], each["members_used"], each["mode"]) for each in told} == {
        (trained[1], 1, "exact")
    }
    done = on_a_pipe(url, "predict", str(pictures), *options, "--csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    for row, each in zip(rows, told, strict=True):
        assert row["picture"] == each["picture"]
        assert (row["label"], row["label_2"]) == tuple(top["label"] for top in each["top_k"])
        assert float(row["entropy"]) == pytest.approx(each["uncertainty"]["entropy"], abs=1e-5)


@pytest.mark.usefixtures("trained")
def test_what_is_wrong_with_all_pictures_is_told_once(url: str, pictures: Path) -> None:
    done = on_a_pipe(url, "predict", str(pictures), "--top-k", "99")
    assert (done.status, done.out) == (1, "")
    assert done.err.count("top_k") == 1


# Terminals.


@pytest.mark.parametrize("line", [["ensembles"], ["jobs"]])
@pytest.mark.usefixtures("trained")
def test_colours_are_for_terminals_and_not_with_no_color(url: str, line: list[str]) -> None:
    done, screen = shown(url, *line)
    assert COLOUR.search(screen)
    assert done.out
    _, screen = shown(url, *line, NO_COLOR="1")
    assert not any(sgr not in {"\x1b[0m", "\x1b[1m", "\x1b[2m"} for sgr in COLOUR.findall(screen))
    assert "\x1b" not in on_a_pipe(url, *line).out


def test_a_table_on_a_terminal_is_aligned_and_of_tabs_on_a_pipe(
    url: str, trained: tuple[str, str]
) -> None:
    done, _ = shown(url, "ensembles")
    lines = done.out.splitlines()
    assert "\t" not in done.out
    assert any(line.startswith("*  ") and trained[1][:8] in line for line in lines)
    rows = list(csv.DictReader(io.StringIO(on_a_pipe(url, "ensembles").out), dialect="excel-tab"))
    assert [row["ensemble"] for row in rows if row[""] == "*"] == [trained[1]]


def test_bars_on_a_terminal_until_ctrl_c_which_leaves_the_job_running(url: str) -> None:
    running = OnATerminal(url, "distill", *TINY, "--epochs", "400", "--name", "watched", "--follow")
    running.read_until(r"member 1 +[━╸╺]+ +\d+/400")
    running.read_until("left")
    running.interrupt()
    done = running.end()
    assert done.status == 130
    (id_,) = re.findall(r"'stillhouse follow (\w+)' comes back", done.out)
    with Stillhouse(url) as client:
        assert client.job(id_).status == "running"
        (another,) = {job.id for job in client.jobs("running")}
        assert another == id_
    assert on_a_pipe(url, "cancel", id_).out == f"{id_}: asked to stop\n"
    done = on_a_pipe(url, "follow", id_)
    assert done.status == 1
    assert "cancelled" in done.out
    done = on_a_pipe(url, "cancel", id_)
    assert (done.status, done.out) == (1, "")
    assert id_ in done.err


def test_bars_survive_an_api_that_is_killed(launcher: Launcher, url: str) -> None:
    running = OnATerminal(url, "distill", *TINY, "--epochs", "40", "--name", "killed", "--follow")
    running.read_until(r"member 0 +[━╸╺]+ +[1-9]\d*/40")
    launcher.kill("-m app ", parent="app.up")
    running.read_until("connection lost; trying again")
    done = running.end()
    assert done.status == 0, done.out
    assert "succeeded" in done.out


# Jobs and ensembles.


def test_a_job_is_shown_listed_and_given_as_json(url: str, trained: tuple[str, str]) -> None:
    job, ensemble = trained
    facts = dict(line.split("\t") for line in on_a_pipe(url, "job", job).out.splitlines())
    assert (facts["job"], facts["status"], facts["ensemble"]) == (job, "succeeded", ensemble)
    recipe = json.loads(on_a_pipe(url, "job", job, "--json").out)["recipe"]
    assert recipe["student"] == "resnet8"
    done = on_a_pipe(url, "jobs", "--status", "succeeded", "--json", "--limit", "500")
    assert job in {json.loads(line)["id"] for line in done.out.splitlines()}
    rows = list(csv.DictReader(io.StringIO(on_a_pipe(url, "jobs").out), dialect="excel-tab"))
    assert {row["status"] for row in rows if row["job"] == job} == {"succeeded"}
    done = on_a_pipe(url, "job", "none")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: ")


def test_a_recipe_of_a_job_starts_another(url: str, trained: tuple[str, str]) -> None:
    recipe = json.loads(on_a_pipe(url, "job", trained[0], "--json").out)["recipe"]
    sent = json.dumps(recipe).encode()
    long = ["--epochs", "400"]  # it is cancelled before it has ended
    done = on_a_pipe(url, "distill", "--recipe", "-", *long, "--json", sent=sent)
    asked = json.loads(done.out)
    assert asked["recipe"] == recipe | {"epochs": 400}
    assert on_a_pipe(url, "cancel", asked["id"]).status == 0
    done = on_a_pipe(url, "distill", *TINY, *long)
    assert on_a_pipe(url, "cancel", done.out.strip()).status == 0


def test_what_a_recipe_would_take_and_what_is_wrong_with_one(url: str) -> None:
    done = on_a_pipe(url, "distill", *TINY, "--plan")
    facts = dict(line.split("\t") for line in done.out.splitlines())
    assert facts["pictures"] == "36 to train on, 12 held out"
    assert {"networks", "memory", "takes"} <= set(facts)
    done = on_a_pipe(url, "distill", *TINY, "--batch-size", "999")
    assert (done.status, done.out) == (1, "")
    assert "  --batch-size: 999 is more than" in done.err


def test_curves_of_a_job_and_figures_of_an_ensemble(
    url: str, trained: tuple[str, str], tmp_path: Path
) -> None:
    for id_ in trained:
        done = on_a_pipe(url, "plot", id_, "--out", str(tmp_path / id_))
        assert done.status == 0, done
        files = [Path(line) for line in done.out.splitlines()]
        assert "learning-curves.png" in {file.name for file in files}
        for file in files:
            with Image.open(file) as image:
                assert image.format == "PNG"
    done = on_a_pipe(url, "plot", "nothing")
    assert (done.status, done.out) == (1, "")


def test_an_ensemble_is_shown_and_rolled_back(url: str, trained: tuple[str, str]) -> None:
    done = on_a_pipe(url, "ensemble", trained[1])
    facts = dict(line.split("\t") for line in done.out.splitlines())
    assert facts["serving"] == "yes"
    assert facts["members"].startswith("2 × resnet8, ")
    found = json.loads(on_a_pipe(url, "ensemble", trained[1], "--json").out)
    assert found["classes"] == list(COLOURS)
    listed = json.loads(on_a_pipe(url, "ensembles", "--json").out)
    release = next(e["id"] for e in listed["ensembles"] if e["id"].startswith("release"))
    done = on_a_pipe(url, "promote", release)
    assert done.out.startswith(f"{release} serves now, with ")
    assert f"before: {trained[1]}" in done.out
    assert on_a_pipe(url, "promote", trained[1]).status == 0


def test_an_ensemble_is_exported_and_brought_in(
    url: str, trained: tuple[str, str], tmp_path: Path
) -> None:
    done = on_a_pipe(url, "export", trained[1], str(tmp_path))
    file = tmp_path / f"{trained[1]}.zip"
    assert (done.status, done.out) == (0, f"{file}\n")
    done = on_a_pipe(url, "import", str(file))
    assert (done.status, done.out) == (0, f"{trained[1]}\n")
    file.write_bytes(b"no zip")
    done = on_a_pipe(url, "import", str(file))
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("error: The archive cannot be used")


def test_own_pictures_are_sent_listed_and_looked_into(url: str, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "own", train=5, test=2)
    done = on_a_pipe(url, "upload", "own", str(folder))
    assert done.status == 0, done
    rows = list(csv.DictReader(io.StringIO(done.out), dialect="excel-tab"))
    assert rows[-1] == {"class": "all", "train": "20", "val": "0", "test": "8"}
    assert "few: " in done.err
    assert on_a_pipe(url, "datasets", "own", "--check", "0").out == done.out
    rows = list(csv.DictReader(io.StringIO(on_a_pipe(url, "datasets").out), dialect="excel-tab"))
    assert {"own", "noise"} <= {row["name"] for row in rows}
    found = json.loads(on_a_pipe(url, "datasets", "own", "--json").out)
    assert [each["label"] for each in found["classes"]] == list(COLOURS)
    done = on_a_pipe(url, "upload", "own", str(folder))
    assert (done.status, done.out) == (1, "")


# This machine.


def test_doctor_tells_a_line_for_each_thing_and_fails_where_nothing_would_work(
    launcher: Launcher, url: str, tmp_path: Path
) -> None:
    settings = {"STILLHOUSE_STORE": str(launcher.store), "STILLHOUSE_PORT": url.rpartition(":")[2]}
    done = on_a_pipe(url, "doctor", "--json", settings=settings)
    told = {each["what"]: each for each in map(json.loads, done.out.splitlines())}
    assert set(told) == {
        *("settings", "Python", "packages", "cores", "memory", "disk", "GPU"),
        *("store", "data", "queue", "clock", "service"),
    }
    assert told["service"]["level"] == "ok"
    assert url in told["service"]["found"]
    assert told["store"] == {
        "what": "store",
        "level": "ok",
        "found": f"{launcher.store} can be written and read",
        "advice": "",
    }
    assert done.status == (1 if any(each["level"] == "fail" for each in told.values()) else 0)
    (tmp_path / "file").touch()
    settings = {"STILLHOUSE_STORE": str(tmp_path / "file" / "store")}
    settings["STILLHOUSE_REDIS_URL"] = "redis://127.0.0.1:9/0"
    done = on_a_pipe("http://127.0.0.1:9", "doctor", settings=settings)
    failed = {line.split("\t")[0] for line in done.out.splitlines() if "\tfail\t" in line}
    assert done.status == 1
    assert {"store", "queue", "service"} <= failed
    done = on_a_pipe(url, "doctor", settings={"STILLHOUSE_PORT": "none"})
    assert "settings\tfail\tSTILLHOUSE_PORT: " in done.out
