"""What nobody but its owner may know is in no log, no answer, and no process that needs it not."""

import logging
import re
from pathlib import Path

import pytest

from app.up import without_keys
from tests.launcher import Worker
from tests.service import accepted, problem_of, running, settings_for

AWAY = "redis://somebody:hunter2@127.0.0.1:1/0"
"""Nobody listens at port 1."""


def test_the_password_of_redis_is_not_told_when_redis_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(tmp_path, AWAY, sweep_seconds=0.05)
    with caplog.at_level(logging.DEBUG), running(settings) as client:
        id_ = accepted(client)
        answer = client.get(f"/jobs/{id_}")
    problem_of(answer, 503, "queue-unavailable")
    logged = "\n".join(f"{each.getMessage()} {each.exc_text}" for each in caplog.records)
    assert "127.0.0.1:1" in logged
    assert "hunter2" not in logged + answer.text


@pytest.mark.processes
def test_nor_does_a_worker_tell_it(tmp_path: Path) -> None:
    worker = Worker({"STILLHOUSE_REDIS_URL": AWAY, "STILLHOUSE_STORE": str(tmp_path)})
    worker.start()
    try:
        worker.wait_for_line(re.escape("127.0.0.1:1"))
    finally:
        worker.stop()
    assert "hunter2" not in "".join(worker.lines)


def test_only_the_api_is_given_keys() -> None:
    kept = {"STILLHOUSE_STORE": "store", "PATH": "/bin"}
    keys = {"STILLHOUSE_API_KEYS": "x", "STILLHOUSE_API_KEYS_FILE": "y", "stillhouse_api_keys": "z"}
    assert without_keys(kept | keys) == kept
