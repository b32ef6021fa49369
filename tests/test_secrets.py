"""What nobody but its owner may know is in no log, no answer, and no process that needs it not."""

import re
from pathlib import Path

import pytest

from app.up import without_keys
from tests.hostile.living import Living
from tests.launcher import Worker
from tests.service import accepted, problem_of

AWAY = "redis://somebody:hunter2@127.0.0.1:1/0"
"""Nobody listens at port 1."""


@pytest.mark.processes
def test_the_password_of_redis_is_not_told_when_redis_is_away(tmp_path: Path) -> None:
    # In a process of its own: Celery would keep the address for whoever comes next in this one.
    service = Living(tmp_path, AWAY, STILLHOUSE_SWEEP_SECONDS="0.05")
    service.start()
    try:
        id_ = accepted(service.client)
        answer = service.client.get(f"/jobs/{id_}")
        problem_of(answer, 503, "queue-unavailable")
        service.wait_for_line(re.escape("127.0.0.1:1"))
    finally:
        service.client.close()
        service.stop()
    assert "hunter2" not in "".join(service.lines) + answer.text


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
