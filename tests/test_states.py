"""A job's states: which may follow which, each noted once, with who saw it and why."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import httpx
import pytest
from redis import Redis

from app.counts import COUNTED, Counts
from app.jobs import Jobs
from app.schemas import JobStatus
from app.states import FOLLOWS, States
from app.work import do_job, find_lost
from models.store import Store
from tests.service import accepted, running, settings_for, wait_until, worker_on
from tests.tiny import RECIPE

ID = "0" * 32


@pytest.fixture
def states(redis: Redis) -> States:
    return States(redis, "job:", 1000, "somebody")


def told(jobs: Jobs, id_: str) -> list[tuple[str, str]]:
    return [(change.status, change.by) for change in jobs.get(id_).history]


def test_the_table_knows_all_states() -> None:
    assert FOLLOWS.keys() == set(get_args(JobStatus))
    assert all(after <= FOLLOWS.keys() for after in FOLLOWS.values())
    assert {status for status, after in FOLLOWS.items() if not after} == {
        "succeeded",
        "failed",
        "cancelled",
    }


def test_only_what_may_follow_is_noted(states: States, redis: Redis) -> None:
    assert not states.note(ID, "queued")  # it is
    assert not states.note(ID, "succeeded")  # it has not run
    assert states.note(ID, "running")
    assert not states.note(ID, "running")
    assert states.note(ID, "queued", "its worker was stopped")
    assert states.note(ID, "cancelled")
    for status in FOLLOWS:
        assert not states.note(ID, status)
    changes = [(each.status, each.by, each.why) for each in states.changes(ID)]
    assert changes == [
        ("running", "somebody", None),
        ("queued", "somebody", "its worker was stopped"),
        ("cancelled", "somebody", None),
    ]
    assert 0 < int(redis.ttl(f"job:{ID}:states")) <= 1000


def test_a_job_tells_who_began_left_and_ended_it(jobs: Jobs, store: Store, data: Path) -> None:
    job, _ = jobs.accept(RECIPE, None, 9)
    assert told(jobs, job.id) == [("queued", "api")]
    do_job(job.id, jobs, store, data, stopping=lambda: True)
    assert told(jobs, job.id) == [("queued", "api"), ("running", "api"), ("queued", "api")]
    assert jobs.get(job.id).history[-1].why == "this worker is stopping"
    do_job(job.id, jobs, store, data, stopping=lambda: False)
    ended = jobs.get(job.id)
    assert [each.status for each in ended.history][3:] == ["running", "succeeded"]
    assert ended.history[-1].at == ended.finished_at


def test_the_api_notes_that_a_jobs_worker_has_died(jobs: Jobs, redis: Redis) -> None:
    job, _ = jobs.accept(RECIPE, None, 9)
    with worker_on(jobs, job.id) as worker:
        jobs.begin(job.id, alone=True)
        assert find_lost(jobs, set()) == []
        assert told(jobs, job.id)[-1][0] == "running"
    jobs.pieces.leave(job.id, worker.worker, in_order=False)
    assert find_lost(jobs, set()) == [job.id]
    assert told(jobs, job.id)[-1][0] == "queued"
    assert "no worker on it was heard of" in str(jobs.get(job.id).history[-1].why)
    redis.flushall()
    assert told(jobs, job.id) == [("queued", "api")]  # what the store knows


def test_workers_counts_are_sums_over_all_of_them(redis: Redis) -> None:
    for _ in range(2):
        Counts(redis).add("work_resumed", 2)
    assert Counts(redis).read() == {**dict.fromkeys(COUNTED, 0), "work_resumed": 4}


@pytest.fixture
def client(tmp_path: Path, redis: Redis, redis_url: str, data: Path) -> Iterator[httpx.Client]:
    assert redis.ping()
    with running(settings_for(tmp_path, redis_url, data=data)) as client:
        yield client


def test_prometheus_is_told_what_workers_counted(
    client: httpx.Client, jobs: Jobs, store: Store, data: Path
) -> None:
    id_ = accepted(client, {**RECIPE.to_dict(), "epochs": 9})

    def after_an_epoch() -> bool:
        return bool([*Path(str(store.files)).glob(f"runs/{id_}/*/*/epoch-*.json")])

    do_job(id_, jobs, store, data, stopping=after_an_epoch)
    do_job(id_, jobs, store, data, stopping=lambda: False)
    do_job(id_, jobs, store, data, stopping=lambda: False)

    def metric(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        (line,) = [each for each in lines if each.startswith(f"stillhouse_{name}_total ")]
        return float(line.split()[1])

    wait_until(lambda: metric("work_resumed") >= 1)
    assert metric("duplicates_dropped") == 1
    assert metric("leases_lost") == 0
