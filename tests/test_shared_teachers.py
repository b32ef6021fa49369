"""One teacher that two jobs want: it is trained once, and whoever trains it may go at any time."""

import logging
import re
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from app.jobs import Jobs
from app.pieces import SHARED
from app.work import find_lost
from models.store import Store
from tests.service import epochs_told, wait_until
from tests.test_work import accept, work
from tests.test_workers import begin
from tests.tiny import RECIPE, go_on, ignore
from training.distill import distill
from training.recipe import TrainedTeacher

LONG = replace(RECIPE, members=1, teacher=(TrainedTeacher("resnet8", 5000),))
SHORT = replace(LONG, teacher=(TrainedTeacher("resnet8", 4),))


# Jobs here have seeds of their own, which are no teacher's.


def training(jobs: Jobs, id_: str) -> bool:
    return jobs.get(id_).teachers[0].epoch > 0


def test_a_job_waits_for_the_teacher_that_another_trains(
    jobs: Jobs, store: Store, data: Path, redis: Redis
) -> None:
    first, second = accept(jobs, LONG), accept(jobs, replace(LONG, seed=1))
    one = begin(first, jobs, store, data, name="one")
    wait_until(lambda: training(jobs, first))

    # It would be asked to stop if it trained the teacher too.
    waiting = work(second, jobs, store, data, lambda: training(jobs, second))
    assert (waiting.status, waiting.workers) == ("queued", 0)
    assert waiting.teachers[0].status == "running"
    assert waiting.history[-1].why == "a teacher that it needs is being trained for another job"
    assert epochs_told(redis, second) == []
    assert find_lost(jobs, {first}) == [], "no worker is sent after what it would only wait for"

    jobs.cancel(first)
    one.join()
    assert find_lost(jobs, set()) == [second]
    two = begin(second, jobs, store, data, name="two")
    wait_until(lambda: training(jobs, second))
    jobs.cancel(second)
    two.join()
    epochs = {epoch for id_ in (first, second) for _, _, epoch in epochs_told(redis, id_)}
    told = len(epochs_told(redis, first)) + len(epochs_told(redis, second))
    assert sorted(epochs) == list(range(1, told + 1)), "it goes on where the other stopped"


def test_one_worker_does_both_jobs_and_trains_the_teacher_once(
    jobs: Jobs, store: Store, data: Path, redis: Redis
) -> None:
    ids = [accept(jobs, SHORT), accept(jobs, replace(SHORT, seed=1))]
    ended = [work(id_, jobs, store, data) for id_ in ids]
    assert [job.status for job in ended] == ["succeeded", "succeeded"]
    assert [job.teachers[0].epoch for job in ended] == [4, 4]
    of_teacher = [
        [epoch for role, _, epoch in epochs_told(redis, id_) if role == "teacher"] for id_ in ids
    ]
    assert of_teacher == [[1, 2, 3, 4], []]
    assert redis.keys(f"{SHARED}*") == []


def test_the_teacher_is_given_back_before_the_members_are_trained(
    jobs: Jobs, store: Store, data: Path
) -> None:
    first = accept(jobs, replace(LONG, teacher=(TrainedTeacher("resnet8", 60),), epochs=5000))
    second = accept(jobs, replace(LONG, teacher=(TrainedTeacher("resnet8", 60),), seed=1))
    one = begin(first, jobs, store, data, name="one")
    wait_until(lambda: training(jobs, first))
    assert work(second, jobs, store, data, lambda: training(jobs, second)).status == "queued"
    wait_until(lambda: jobs.get(first).members[0].epoch > 0)
    assert find_lost(jobs, {first}) == [second]
    assert work(second, jobs, store, data).status == "succeeded"
    assert jobs.get(first).status == "running"
    jobs.cancel(first)
    one.join()


def test_who_was_shut_out_leaves_what_its_successor_makes(
    jobs: Jobs, store: Store, data: Path, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first, second = accept(jobs, SHORT), accept(jobs, replace(SHORT, seed=1))
    held_up, go_on_now = threading.Event(), threading.Event()

    def hold_up() -> bool:
        begun = any(Path(store.files.path("teachers")).rglob("epoch-*.json"))
        if begun and not go_on_now.is_set():
            held_up.set()
            go_on_now.wait(60)
        return False

    one = begin(first, jobs, store, data, name="one", stopping=hold_up)
    assert held_up.wait(60)
    # As if it had been stopped for longer than its lease, which then passes to somebody else.
    redis.delete(*redis.keys(f"{SHARED}*"))
    ended = work(second, jobs, store, data)
    go_on_now.set()
    one.join()
    assert ended.status == "succeeded"
    assert re.search("in other hands|is another process's now", caplog.text), "it noticed"
    alone = distill(
        replace(SHORT, seed=1),
        data,
        Store(store.files.path("alone")),
        "x",
        report=ignore,
        check=go_on,
    )
    assert alone is not None
    assert ended.ensemble == alone.id
    assert work(first, jobs, store, data).status == "succeeded"
