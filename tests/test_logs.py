"""Lines for people, or JSON objects with the ids of what they are about."""

import json
import os
import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys, threading
from app.logs import all_lines_have, configure

configure(sys.argv[1])
log = logging.getLogger("here")
log.debug("not told")
log.info("begun %d", 1)
with all_lines_have(job="j1"):
    thread = threading.Thread(target=lambda: log.warning("a\\nb", extra={"part": "member 2"}))
    thread.start()
    thread.join()
    try:
        raise KeyError("lost")
    except KeyError:
        log.exception("it failed with %s", "j1")
log.info("over")
"""


def printed(log_format: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, log_format],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stderr.splitlines()


def test_people_read_messages() -> None:
    lines = printed("text")
    assert lines[:4] == ["begun 1", "a", "b [job j1]", "it failed with j1"]
    assert lines[-2:] == ["KeyError: 'lost'", "over"]


def test_machines_read_an_object_a_line_with_ids() -> None:
    first, second, third, last = map(json.loads, printed("json"))
    assert (first["message"], first["level"], first["logger"]) == ("begun 1", "INFO", "here")
    assert first["time"][:2] == "20"
    assert "job" not in first
    assert (second["message"], second["job"], second["part"]) == ("a\nb", "j1", "member 2")
    assert third["job"] == "j1"
    assert "KeyError: 'lost'" in third["exc_info"]
    assert "job" not in last


@pytest.mark.parametrize("module", ["app", "app.worker"])
def test_every_process_prints_as_the_settings_say(module: str) -> None:
    environment = {name: value for name, value in os.environ.items() if "STILLHOUSE" not in name}
    done = subprocess.run(
        [sys.executable, "-m", module],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "STILLHOUSE_LOG_FORMAT": "xml"},
    )
    assert done.returncode
    assert "STILLHOUSE_LOG_FORMAT" in done.stderr
