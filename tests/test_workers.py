"""Several workers on one job: each piece is done once, and they end together."""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from redis import Redis

from app.jobs import Jobs
from app.pieces import PREFIX
from app.work import MAX_DEATHS, do_job, find_lost
from models.store import Store
from tests.service import epochs_told, wait_until, worker_on
from tests.test_work import ENDLESS, accept, at_work, never, work
from tests.tiny import RECIPE, go_on, ignore
from training.distill import distill
from training.recipe import TrainedTeacher

FOUR = replace(RECIPE, members=4)


def begin(
    id_: str,
    jobs: Jobs,
    store: Store,
    data: Path,
    *,
    name: str,
    stopping: Callable[[], bool] = never,
) -> threading.Thread:
    """Let another worker take a job, in a thread of this name."""
    thread = threading.Thread(target=work, args=(id_, jobs, store, data, stopping), name=name)
    thread.start()
    return thread


def workers_holding(jobs: Jobs, id_: str) -> int:
    return len(set(jobs.pieces.look(id_).holders.values()))


def begun_by(caplog: pytest.LogCaptureFixture) -> dict[str, list[str]]:
    """Return what the log says that each worker began, by its thread's name."""
    found: dict[str, list[str]] = {}
    for record in caplog.records:
        if piece := re.search(r": (member \d) begins$", record.getMessage()):
            found.setdefault(str(record.threadName), []).append(piece[1])
    return found


# Sharing.


def test_two_workers_share_the_members_and_train_each_once(
    jobs: Jobs, store: Store, data: Path, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    id_ = accept(jobs, FOUR)
    both = threading.Event()

    def wait_for_the_other() -> bool:
        # Neither trains a batch before each has a member.
        if not both.is_set() and workers_holding(jobs, id_):
            wait_until(lambda: both.is_set() or workers_holding(jobs, id_) == 2)
            both.set()
        return False

    threads = [
        begin(id_, jobs, store, data, name=name, stopping=wait_for_the_other)
        for name in ("one", "other")
    ]
    for thread in threads:
        thread.join()
    job = jobs.get(id_)
    assert job.status == "succeeded"
    assert [each.attempts for each in job.members] == [1] * 4
    epochs = [("member", index, epoch) for index in range(4) for epoch in (1, 2)]
    assert epochs_told(redis, id_) == epochs
    begun = begun_by(caplog)
    assert begun.keys() == {"one", "other"}
    assert sorted(begun["one"] + begun["other"]) == [f"member {index}" for index in range(4)]
    alone = distill(FOUR, data, Store(store.files.path("alone")), "x", report=ignore, check=go_on)
    assert alone is not None
    assert job.ensemble == alone.id
    assert redis.keys(f"{PREFIX}*") == [f"{PREFIX}{id_}:events"]
    assert not store.files.exists(f"runs/{id_}")


def test_one_worker_with_two_cores_has_two_members_at_once(
    jobs: Jobs, store: Store, data: Path, redis: Redis
) -> None:
    id_ = accept(jobs, FOUR)
    at_once: set[int] = set()

    def look() -> bool:
        # Nobody trains a batch before two members are held, or it would depend on luck.
        def seen() -> bool:
            at_once.add(held := len(jobs.pieces.look(id_).holders))
            return held == 0 or max(at_once) >= 2

        wait_until(seen)
        return False

    torch.set_num_threads(2)
    try:
        job = work(id_, jobs, store, data, look)
    finally:
        torch.set_num_threads(1)
    assert (job.status, job.plan and job.plan["together"]) == ("succeeded", 2)
    assert max(at_once) >= 2
    assert [each.attempts for each in job.members] == [1] * 4
    assert epochs_told(redis, id_) == [
        ("member", index, epoch) for index in range(4) for epoch in (1, 2)
    ]


def test_a_worker_that_finds_nothing_to_do_leaves_in_order(
    jobs: Jobs, store: Store, data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    recipe = replace(ENDLESS, teacher=(TrainedTeacher("resnet8", 5000),))
    id_ = accept(jobs, recipe)
    one = begin(id_, jobs, store, data, name="one")
    wait_until(lambda: jobs.get(id_).teachers[0].epoch > 0)
    assert work(id_, jobs, store, data).status == "running"
    assert f"job {id_}: what is left is in other hands" in caplog.text
    workers = jobs.pieces.workers(id_)
    assert (len(workers.rates), len(workers.died)) == (1, 0)
    assert find_lost(jobs, set()) == []  # members have to wait for the teacher
    jobs.cancel(id_)
    one.join()


def test_a_job_asks_for_workers_while_it_has_pieces_that_nobody_has(
    jobs: Jobs, store: Store, data: Path
) -> None:
    id_ = accept(jobs, ENDLESS)
    assert find_lost(jobs, set()) == [id_]
    assert find_lost(jobs, {id_}) == []  # a message speaks of it
    one = at_work(id_, jobs, store, data)
    assert find_lost(jobs, set()) == [id_]  # of two members one is left
    with worker_on(jobs, id_):
        assert find_lost(jobs, set()) == []  # somebody is about to take it
    other = begin(id_, jobs, store, data, name="other")
    wait_until(lambda: workers_holding(jobs, id_) == 2)
    assert find_lost(jobs, set()) == []
    assert jobs.get(id_).workers == 2
    jobs.cancel(id_)
    one.join()
    other.join()


def test_a_wiped_redis_hears_again_of_what_is_finished(
    jobs: Jobs, store: Store, data: Path, redis: Redis
) -> None:
    id_ = accept(jobs, replace(RECIPE, epochs=10))

    def first_is_done() -> bool:
        return jobs.get(id_).members[0].status == "succeeded"

    work(id_, jobs, store, data, first_is_done)
    redis.flushall()
    assert jobs.get(id_).members[0].epoch == 0
    assert find_lost(jobs, set()) == [id_]
    work(id_, jobs, store, data, first_is_done)
    first = jobs.get(id_).members[0]
    assert (first.epoch, len(first.curve), first.attempts) == (10, 10, 0)
    assert 0 not in [index for _, index, _ in epochs_told(redis, id_)]
    assert work(id_, jobs, store, data).status == "succeeded"


# Ending together.


def test_a_cancel_ends_all_workers(jobs: Jobs, store: Store, data: Path, redis: Redis) -> None:
    id_ = accept(jobs, ENDLESS)
    threads = [begin(id_, jobs, store, data, name=name) for name in ("one", "other")]
    wait_until(lambda: [each.epoch > 0 for each in jobs.get(id_).members] == [True, True])
    assert jobs.cancel(id_).status == "running"
    for thread in threads:
        thread.join()
    job = jobs.get(id_)
    assert (job.status, job.workers) == ("cancelled", 0)
    assert all(each.epoch > 0 for each in job.members)
    assert redis.keys(f"{PREFIX}*") == [f"{PREFIX}{id_}:events"]
    assert not store.files.exists(f"runs/{id_}")


def test_a_failure_in_one_worker_ends_the_others(
    jobs: Jobs, store: Store, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    id_ = accept(jobs, ENDLESS)
    one = at_work(id_, jobs, store, data)
    assert work(id_, jobs, store, tmp_path / "empty").status == "failed"
    one.join(timeout=10)
    assert not one.is_alive()
    assert f"leaving it: job {id_} has ended meanwhile" in caplog.text
    error = jobs.get(id_).error
    assert error is not None
    assert error.type == "urn:stillhouse:problem:invalid-dataset"


def test_a_machine_with_too_little_memory_leaves_a_job_to_others(
    jobs: Jobs, store: Store, data: Path
) -> None:
    id_ = accept(jobs)
    with worker_on(jobs, id_):
        do_job(id_, jobs, store, data, stopping=never, limit_bytes=1_000_000)
        assert jobs.get(id_).status == "running"
    do_job(id_, jobs, store, data, stopping=never, limit_bytes=1_000_000)
    assert jobs.get(id_).status == "failed"  # nobody else is there


def test_four_workers_at_once_are_no_deaths(jobs: Jobs, store: Store, data: Path) -> None:
    id_ = accept(jobs)
    with (
        worker_on(jobs, id_),
        worker_on(jobs, id_),
        worker_on(jobs, id_),
        worker_on(jobs, id_),
    ):
        assert work(id_, jobs, store, data).status == "succeeded"


def test_a_job_that_ended_workers_is_left_to_those_that_live(
    jobs: Jobs, store: Store, data: Path
) -> None:
    id_ = accept(jobs)
    for number in range(MAX_DEATHS):
        jobs.pieces.stay(id_, f"dead {number}")
        jobs.pieces.leave(id_, f"dead {number}", in_order=False)
    with worker_on(jobs, id_):
        assert work(id_, jobs, store, data).status == "running"
    assert work(id_, jobs, store, data).status == "failed"
