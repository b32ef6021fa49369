"""The command line by itself: help, examples, exit statuses, and what it makes of a recipe."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
from contextlib import closing
from pathlib import Path

import click
import pytest

from app import __version__
from app.cli.command import UNREACHABLE, Command
from app.cli.program import COMMANDS, EXAMPLES, stillhouse
from app.cli.recipe_options import fields_given, option_name
from app.cli.screen import ago, clean, duration, size
from app.client.requests import USUAL_SECONDS
from app.recipe_request import RecipeRequest
from tests.scripted import Said, Script, scripted
from tests.stillhouse import OnATerminal, environment, on_a_pipe

ROOT = Path(__file__).parents[1]
NOWHERE = "http://127.0.0.1:9"


def commands() -> dict[str, click.Command]:
    context = click.Context(stillhouse)
    found = {name: stillhouse.get_command(context, name) for name in COMMANDS}
    return {name: command for name, command in found.items() if command is not None}


def written_in(page: str) -> list[str]:
    """Return the command lines of ``stillhouse`` in a page's shell examples."""
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    return [
        line for block in blocks for line in re.findall(r"^stillhouse .*$", block, re.MULTILINE)
    ]


def parse(line: str) -> None:
    """Parse a command line up to its first redirection, pipe or comment."""
    line = re.sub(r"<(\w+)>", r"\1", line)  # a place to fill in
    words = shlex.split(re.split(r" [>|<#]", line)[0])
    stillhouse.make_context("stillhouse", words[:1])
    command = commands()[words[0]]
    existing = {"import": str(ROOT / "README.md"), "upload": str(ROOT)}
    if words[0] in existing:
        words[-1] = existing[words[0]]
    if "--recipe" in words:
        words[words.index("--recipe") + 1] = "-"
    command.make_context(words[0], words[1:])


# What it says of itself.


def test_help_is_quick_since_it_imports_no_command() -> None:
    script = (
        "import sys, app.cli.program as p; p.main(['--help']);"
        "heavy = {'torch', 'httpx', 'pydantic', 'rich', 'numpy', 'app.schemas'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for name, entry in COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert entry.meaning in done.stdout


def test_no_command_imports_pytorch() -> None:
    script = (
        "import sys, click; from app.cli.program import COMMANDS, stillhouse;"
        "[stillhouse.get_command(click.Context(stillhouse), name) for name in COMMANDS];"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_teaches_by_examples_that_can_be_typed(name: str) -> None:
    command = commands()[name]
    assert isinstance(command, Command)
    assert command.examples
    for line, meaning in command.examples:
        assert meaning
        parse(line)
    shown = command.get_help(click.Context(command, info_name=name))
    assert "Examples:" in shown
    assert all(f"stillhouse {line}\n" in f"{shown}\n" for line, _ in command.examples)
    # The short line that the list of commands has is how the long text begins.
    first = COMMANDS[name].meaning.rstrip(".").split()[:2]
    assert (command.help or "").split()[:2] == first


def test_examples_of_the_program_and_of_the_pages_can_be_typed() -> None:
    lines = [f"stillhouse {line}" for line, _ in EXAMPLES]
    lines += [line for page in ("README.md", "docs/cli.md") for line in written_in(page)]
    lines = [line for line in lines if not line.endswith("--help")]
    assert len(lines) > 20
    for line in lines:
        parse(line.removeprefix("stillhouse "))


def test_every_command_and_exit_status_is_documented() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    assert set(re.findall(r"^### `stillhouse (\w+)", page, re.MULTILINE)) == set(COMMANDS)
    assert [int(s) for s in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == [0, 1, 2, 69, 130]


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    assert on_a_pipe(NOWHERE, "--version").out == f"stillhouse, version {__version__}\n"


def test_make_installs_it_without_asking_anybody(tmp_path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    (line,) = re.findall(r"^INSTALL_COMMAND := \$\(UV\) (.*)$", makefile, re.MULTILINE)
    assert makefile.count("@$(INSTALL_COMMAND)") == 2
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        pytest.skip("uv is not beside this Python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [word.replace("$(BIN)/python", str(python)) for word in line.split()]
    subprocess.run([uv, *install], cwd=ROOT, check=True, env={**os.environ, "UV_NO_CACHE": "1"})
    packages = sysconfig.get_path("purelib")  # what it needs comes from the lock
    done = subprocess.run(
        [python.with_name("stillhouse"), "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": packages},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"stillhouse, version {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_told_how_to_complete(shell: str) -> None:
    done = on_a_pipe(NOWHERE, "completion", shell)
    assert done.status == 0
    assert "_STILLHOUSE_COMPLETE" in done.out


def test_commands_and_options_are_completed() -> None:
    def complete(typed: str, word: int) -> list[str]:
        asked = {"COMP_WORDS": typed, "COMP_CWORD": str(word)}
        asked["_STILLHOUSE_COMPLETE"] = "bash_complete"
        return on_a_pipe(NOWHERE, settings=asked).out.split()

    assert complete("stillhouse ens", 1) == ["plain,ensembles", "plain,ensemble"]
    weights = ["plain,--distillation-weight", "plain,--distillation-weight-spread"]
    assert complete("stillhouse distill --distillation-w", 2) == weights


# What is wrong with a command line, and what is wrong elsewhere.


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("", "Commands:"),
        ("ensembels", "Did you mean 'ensembles'?"),
        ("xyzzy", "See 'stillhouse --help'"),
        ("predict", "Missing argument"),
        ("jobs --status lost", "'lost' is not one of"),
        ("distill --epochs 0", "1<=x<=10000"),
        ("distill --colour red", "No such option"),
        ("distill --teacher none --teacher resnet8:1", "'none' stands alone"),
        ("distill --teacher a:b", "NETWORK:EPOCHS"),
        ("import nothing.zip", "does not exist"),
    ],
)
def test_a_wrong_command_line_ends_with_2_and_says_what_is_wrong(line: str, told: str) -> None:
    done = on_a_pipe(NOWHERE, *line.split())
    assert (done.status, done.out) == (2, "")
    assert told in done.err


@pytest.mark.parametrize("line", ["jobs", "predict README.md", "follow x", "distill", "ensembles"])
def test_nothing_that_answers_ends_with_69_and_says_what_to_do(line: str) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        done = on_a_pipe("http://other", *line.split(), "--url", url, "--retry-seconds", "0")
    assert (done.status, done.out) == (UNREACHABLE, "")
    assert url in done.err
    assert "stillhouse up" in done.err


def test_a_missing_key_and_another_service_are_told() -> None:
    problem = {
        "type": "urn:x:key-needed",
        "title": "A key is needed",
        "status": 401,
        "detail": "none",
    }
    with scripted(Script(Said(401, json.dumps(problem).encode()))) as url:
        done = on_a_pipe(url, "jobs")
    assert (done.status, done.out) == (1, "")
    assert "A key is needed: none\nPut a key into STILLHOUSE_API_KEY." in done.err
    with scripted(Script(Said(body=b"<html>"))) as url:
        done = on_a_pipe(url, "ensembles")
    assert done.status == 1
    assert "is the address that of a Stillhouse" in done.err


def test_what_a_service_says_cannot_move_the_cursor() -> None:
    page = b'{"serving": null, "ensembles": []}'
    problem = {"type": "x", "title": "No", "status": 404, "detail": "red \x1b[31m, a bell \x07"}
    script = Script(Said(404, json.dumps(problem).encode()), Said(body=page))
    with scripted(script) as url:
        done = on_a_pipe(url, "ensemble", "x")
    assert "\x1b" not in done.err
    assert "\x07" not in done.err


def test_a_reader_that_has_had_enough_is_no_error() -> None:
    job = {"id": "j" * 200, "status": "queued", "recipe": {}, "created_at": "2026-01-01T00:00:00Z"}
    page = json.dumps({"jobs": [job] * 500}).encode()
    with scripted(Script(Said(body=page))) as url:
        running = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "jobs", "--limit", "1000", "--json"],
            env=environment(url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == b""
        running.stderr.close()
        assert running.wait(60) == 1


@pytest.mark.parametrize("line", [["jobs"], ["predict", "README.md"]])
def test_ctrl_c_ends_with_130_while_an_answer_is_waited_for(line: list[str]) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        running = OnATerminal(f"http://127.0.0.1:{silent.getsockname()[1]}", *line)
        with closing(silent.accept()[0]) as connection:
            connection.recv(1)  # it has asked
            interrupted = time.monotonic()
            running.interrupt()
            done = running.end()
    assert (done.status, done.out.strip()) == (130, "interrupted")
    assert time.monotonic() - interrupted < USUAL_SECONDS / 2  # not when the answer is given up


# A recipe as options.


def test_every_field_of_a_recipe_has_an_option_and_what_is_left_out_is_left_to_the_preset() -> None:
    command = commands()["distill"]
    options = {parameter.name: parameter for parameter in command.params}
    assert set(RecipeRequest.model_fields) <= set(options)
    context = command.make_context("distill", [])
    given = {name: context.params[name] for name in RecipeRequest.model_fields}
    assert fields_given(given) == {}


def test_options_become_fields() -> None:
    command = commands()["distill"]
    line = "--preset strong --members 3 --no-nesterov --learning-rate 0.1 --teacher resnet20"
    line += " --teacher resnet20:5:1 --teacher @birds --promote never --dataset own"
    context = command.make_context("distill", line.split())
    given = fields_given({name: context.params[name] for name in RecipeRequest.model_fields})
    assert given == {
        "preset": "strong",
        "members": 3,
        "nesterov": False,
        "learning_rate": 0.1,
        "promote": "never",
        "dataset": "own",
        "teacher": [
            {"student": "resnet20"},
            {"student": "resnet20", "epochs": 5, "seed": 1},
            {"ensemble": "birds"},
        ],
    }
    RecipeRequest.model_validate(given)
    assert fields_given({"teacher": ("none",)}) == {"teacher": None}
    assert option_name("teacher.1.student") == "--teacher"
    assert option_name("batch_size") == "--batch-size"


@pytest.mark.parametrize(("written", "told"), [("[1]", "no recipe"), ("{", "holds no JSON")])
def test_a_recipe_file_that_is_none_is_told(written: str, told: str) -> None:
    done = on_a_pipe(NOWHERE, "distill", "--recipe", "-", sent=written.encode())
    assert (done.status, done.out) == (1, "")
    assert told in done.err


# Numbers.


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, None), (0, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3_599.6, "1 h 0 min"),
     (7_260, "2 h 1 min"), (86_400, "1 d 0 h"), (-5, "0 s")],
)  # fmt: skip
def test_durations_have_the_two_units_that_say_most(
    seconds: float | None, shown: str | None
) -> None:
    assert duration(seconds) == shown


def test_sizes_and_moments() -> None:
    assert [size(n) for n in (0, 999, 1000, 2_900_000, 5 * 10**12)] == [
        "0 bytes", "999 bytes", "1.0 kB", "2.9 MB", "5.0 TB",
    ]  # fmt: skip
    assert re.fullmatch(r"\d+ d \d+ h ago", ago("2024-01-01T00:00:00+00:00") or "")
    assert clean("a\x1b[31mb\tc\u202ed\ne") == "a\ufffd[31mb\ufffdc\ufffdd\ne"
