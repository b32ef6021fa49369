"""Worker processes on one job: one joins late, one is killed, and nothing is trained twice."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from app.pieces import PREFIX
from models.store import Store
from tests.launcher import Worker
from tests.service import accepted, epochs_told, running, settings_for, wait_until
from tests.tiny import RECIPE, go_on, ignore
from training.distill import distill

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]

SHARED = replace(RECIPE, name="shared", members=3, epochs=16)
"""A recipe with more members than there are workers, and time enough to be disturbed."""

Workers = tuple[Worker, Worker]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workers")


@pytest.fixture(scope="module")
def client(root: Path, data: Path, redis_url: str) -> Iterator[httpx.Client]:
    """A service that looks often for work that nobody does."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    settings = settings_for(root, redis_url, data=data, sweep_seconds=0.2, lease_seconds=6)
    with running(settings) as client:
        yield client


@pytest.fixture(scope="module")
def workers(root: Path, data: Path, redis_url: str) -> Iterator[Workers]:
    """Two workers of that service, which have yet to be started."""
    settings = {
        "STILLHOUSE_STORE": str(root / "store"),
        "STILLHOUSE_DATA": str(data),
        "STILLHOUSE_REDIS_URL": redis_url,
        "STILLHOUSE_LEASE_SECONDS": "6",
    }
    both = Worker(settings), Worker(settings)
    yield both
    for worker in both:
        worker.stop()


@pytest.fixture(scope="module")
def undisturbed(root: Path, data: Path) -> str:
    """The id, and with it the digest of the weights, of one process that does it alone."""
    manifest = distill(SHARED, data, Store(root / "alone"), "run", report=ignore, check=go_on)
    assert manifest is not None
    return manifest.id


def look(client: httpx.Client, id_: str) -> dict[str, Any]:
    response = client.get(f"/jobs/{id_}")
    assert response.status_code == 200, response.text
    job: dict[str, Any] = response.json()
    return job


def ended(client: httpx.Client, id_: str) -> dict[str, Any]:
    wait_until(lambda: look(client, id_)["finished_at"])
    return look(client, id_)


def begun(worker: Worker, id_: str) -> list[str]:
    """Return the members that a worker has begun or resumed, from what it printed."""
    pattern = rf"job {id_}: (member \d) (?:begins|goes on)"
    return [found[1] for line in worker.lines if (found := re.search(pattern, line))]


def both_train(client: httpx.Client, workers: Workers, id_: str) -> None:
    """Wait until each worker has a member, and both members have an epoch."""
    wait_until(lambda: all(begun(worker, id_) for worker in workers))

    def epochs() -> list[bool]:
        members = look(client, id_)["members"]
        return [each["epoch"] > 0 for each in members if each["status"] == "running"]

    wait_until(lambda: epochs() == [True, True])


@pytest.fixture(scope="module")
def endless(client: httpx.Client, workers: Workers) -> str:
    """A job that never ends by itself, and that the second worker joined late."""
    first, late = workers
    first.start()
    id_ = accepted(client, replace(RECIPE, epochs=5000).to_dict())
    wait_until(lambda: look(client, id_)["members"][0]["epoch"] > 0)
    late.start()
    both_train(client, workers, id_)
    return id_


def test_a_worker_that_joins_late_takes_what_is_left(
    client: httpx.Client, workers: Workers, endless: str
) -> None:
    assert [begun(worker, endless) for worker in workers] == [["member 0"], ["member 1"]]
    job = look(client, endless)
    assert (job["status"], job["workers"]) == ("running", 2)
    assert [(each["status"], each["attempts"]) for each in job["members"]] == [("running", 1)] * 2


def test_a_cancel_ends_both_within_seconds(
    client: httpx.Client, workers: Workers, endless: str, redis_url: str
) -> None:
    asked = time.monotonic()
    assert client.delete(f"/jobs/{endless}").status_code == 202
    assert ended(client, endless)["status"] == "cancelled"
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        keys = f"{PREFIX}{endless}*"
        wait_until(lambda: redis.keys(keys) == [f"{PREFIX}{endless}:events"])
    assert time.monotonic() - asked < 5
    assert all(worker.process.poll() is None for worker in workers)


def test_workers_train_each_epoch_of_each_member_once(
    client: httpx.Client, workers: Workers, undisturbed: str, redis_url: str
) -> None:
    id_ = accepted(client, SHARED.to_dict())
    job = ended(client, id_)
    assert (job["status"], job["ensemble"]) == ("succeeded", undisturbed)
    assert [each["attempts"] for each in job["members"]] == [1] * 3
    members = [begun(worker, id_) for worker in workers]
    assert all(members)
    assert sorted([*members[0], *members[1]]) == ["member 0", "member 1", "member 2"]
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        told = epochs_told(redis, id_)
    assert told == [("member", index, epoch) for index in range(3) for epoch in range(1, 17)]


def test_a_killed_workers_member_goes_on_from_its_last_checkpoint(
    client: httpx.Client, workers: Workers, undisturbed: str
) -> None:
    id_ = accepted(client, SHARED.to_dict())
    both_train(client, workers, id_)
    lost = begun(workers[0], id_)[-1]
    workers[0].kill_child()
    job = ended(client, id_)
    assert (job["status"], job["ensemble"]) == ("succeeded", undisturbed)
    attempts = {f"member {each['index']}": each["attempts"] for each in job["members"]}
    assert attempts.pop(lost) == 2
    assert set(attempts.values()) == {1}
    printed = "".join(line for worker in workers for line in worker.lines)
    assert f"job {id_}: {lost} goes on after epoch" in printed
