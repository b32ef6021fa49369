"""Doing a job without a queue: to its end, or handed back. Of several workers: test_workers.py."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from app.jobs import Jobs
from app.pieces import PREFIX
from app.schemas import Job
from app.work import MAX_DEATHS, do_job, find_lost
from models.artefacts import read_json, write_json
from models.store import Store
from tests.service import wait_until
from tests.tiny import RECIPE
from training.recipe import Recipe, TrainedTeacher

POISON = "urn:stillhouse:problem:poison"
ENDLESS = replace(RECIPE, epochs=5000)


def accept(jobs: Jobs, recipe: Recipe = RECIPE) -> str:
    job, new = jobs.accept(recipe, None, max_unfinished=10)
    assert new
    return job.id


def never() -> bool:
    return False


def work(
    id_: str, jobs: Jobs, store: Store, data: Path, stopping: Callable[[], bool] = never
) -> Job:
    do_job(id_, jobs, store, data, stopping=stopping)
    return jobs.get(id_)


def at_work(id_: str, jobs: Jobs, store: Store, data: Path) -> threading.Thread:
    """Train in a thread and return it once an epoch is on record."""
    thread = threading.Thread(target=work, args=(id_, jobs, store, data))
    thread.start()
    wait_until(lambda: jobs.get(id_).members[0].epoch > 0)
    return thread


def has_begun(store: Store, id_: str, member: str) -> bool:
    """Say whether the first epoch of a member has been kept."""
    return any(Path(store.files.path(f"runs/{id_}")).rglob(f"{member}/epoch-*.json"))


def rewrite(store: Store, id_: str, **fields: object) -> None:
    """Change the recipe on disk to one that was not checked here."""
    name = f"jobs/{id_}/request.json"
    request = read_json(store.files, name)
    request["recipe"].update(fields)
    write_json(store.files, name, request)


# To the end.


def test_a_job_ends_with_its_ensemble(jobs: Jobs, store: Store, data: Path, redis: Redis) -> None:
    job = work(accept(jobs), jobs, store, data)
    assert (job.status, job.progress, job.eta_seconds, job.workers) == ("succeeded", 1.0, None, 0)
    assert job.ensemble is not None
    manifest = store.manifest(job.ensemble)
    assert job.metrics == manifest.metrics
    assert job.promotion is not None
    assert job.promotion.promoted == (store.serving() == manifest.id)
    told = [(each.status, each.progress, each.epoch, each.attempts) for each in job.members]
    assert told == [("succeeded", 1.0, 2, 1)] * 2
    curves = store.report(manifest.id)["curves"]
    assert [each.val_accuracy for each in job.members[1].curve] == [
        each["val_accuracy"] for each in curves["member 1"]
    ]
    assert job.plan is not None
    assert job.plan["peak_bytes"] <= job.plan["limit_bytes"]
    assert job.started_at is not None
    assert job.finished_at is not None
    assert job.created_at <= job.started_at <= job.finished_at
    assert not store.files.exists(f"runs/{job.id}")
    assert redis.keys() == [f"{PREFIX}{job.id}:events"]  # which expires
    assert redis.ttl(f"{PREFIX}{job.id}:events") > 3600


def test_a_job_trains_its_teachers_and_keeps_their_answers(
    jobs: Jobs, store: Store, data: Path
) -> None:
    teachers = (TrainedTeacher("resnet8", 1), TrainedTeacher("resnet8", 1, seed=1))
    recipe = replace(RECIPE, teacher=teachers, teacher_views=2, epochs=1)
    job = work(accept(jobs, recipe), jobs, store, data)
    assert job.status == "succeeded"
    assert [(each.index, each.status, each.attempts) for each in job.teachers] == [
        (0, "succeeded", 1),
        (1, "succeeded", 1),
    ]
    assert job.teacher == job.teachers[0]
    assert job.ensemble is not None
    assert len(store.manifest(job.ensemble).teachers) == 2


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


def test_too_little_memory_is_told_with_what_it_takes(jobs: Jobs, store: Store, data: Path) -> None:
    id_ = accept(jobs)
    do_job(id_, jobs, store, data, stopping=never, limit_bytes=1_000_000)
    error = jobs.get(id_).error
    assert error is not None
    assert error.type == "urn:stillhouse:problem:not-enough-memory"
    assert "the limit is 1,000,000" in error.detail


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
    assert not store.files.exists(f"runs/{id_}")


def test_a_job_that_fails_on_its_way_to_a_cancel_is_cancelled(
    jobs: Jobs, store: Store, data: Path, redis: Redis
) -> None:
    id_ = accept(jobs, replace(RECIPE, batch_size=5000))  # refused once the pictures are read

    def cancel_meanwhile() -> bool:
        redis.set(f"{PREFIX}{id_}:cancel", "1")
        return False

    job = work(id_, jobs, store, data, cancel_meanwhile)
    assert (job.status, job.error) == ("cancelled", None)


def test_a_stopping_worker_hands_its_job_back(jobs: Jobs, store: Store, data: Path) -> None:
    id_ = accept(jobs)
    job = work(id_, jobs, store, data, lambda: has_begun(store, id_, "member-00"))
    assert (job.status, job.members[0].status) == ("queued", "queued")
    assert not jobs.pieces.workers(id_).died  # the job did not end its worker
    assert find_lost(jobs, set()) == [id_]


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


# Bad luck.


def test_a_job_that_ends_its_worker_again_and_again_fails(
    jobs: Jobs, store: Store, data: Path
) -> None:
    id_ = accept(jobs)
    for number in range(MAX_DEATHS):  # workers that were killed
        jobs.pieces.stay(id_, f"worker {number}")
        jobs.pieces.leave(id_, f"worker {number}", in_order=False)
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
    for _ in range(MAX_DEATHS):
        with pytest.raises(TypeError):
            work(id_, jobs, store, data)
        assert find_lost(jobs, set()) == [id_]
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
