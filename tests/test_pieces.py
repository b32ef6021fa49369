"""Who works on a job, who died at it, and how far its pieces are, in a real Valkey."""

import pytest
from redis import Redis

from app.jobs import Jobs
from app.live import News
from app.pieces import PREFIX, Pieces
from app.schemas import NetworkProgress
from tests.service import wait_until
from training.progress import Part

JOB = "0" * 32
MEMBER = Part("member", 3)
EPOCH = {"role": "member", "index": 3, "epoch": 1}


@pytest.fixture
def pieces(jobs: Jobs) -> Pieces:
    return jobs.pieces


def test_workers_side_by_side_live_and_have_rates(pieces: Pieces) -> None:
    for number in range(4):
        pieces.stay(JOB, f"worker {number}", rate=float(number))
    rates = {f"worker {number}": float(number) for number in range(4)}
    assert pieces.workers(JOB) == (rates, frozenset())


def test_a_worker_that_leaves_in_order_has_not_died(pieces: Pieces, redis: Redis) -> None:
    pieces.stay(JOB, "one")
    pieces.stay(JOB, "other")
    pieces.leave(JOB, "one", in_order=True)
    assert pieces.workers(JOB) == ({"other": 0.0}, frozenset())
    pieces.leave(JOB, "other", in_order=True)
    assert redis.keys() == []


def test_a_worker_not_heard_of_for_a_lease_has_died_until_it_is_heard_of(pieces: Pieces) -> None:
    pieces.lease_seconds = 0.2
    pieces.stay(JOB, "silent")
    wait_until(lambda: pieces.workers(JOB).died == {"silent"})
    assert pieces.workers(JOB).rates == {}
    pieces.lease_seconds = 30
    pieces.stay(JOB, "silent")
    assert pieces.workers(JOB) == ({"silent": 0.0}, frozenset())


def test_a_finished_epoch_forgives_the_deaths_before_it(pieces: Pieces) -> None:
    pieces.stay(JOB, "alive")
    pieces.stay(JOB, "dead")
    pieces.leave(JOB, "dead", in_order=False)
    pieces.write(JOB, News(pieces={MEMBER: NetworkProgress(index=3, epochs=2)}))
    assert pieces.workers(JOB).died == {"dead"}
    pieces.write(JOB, News(epochs=[EPOCH]))
    assert pieces.workers(JOB) == ({"alive": 0.0}, frozenset())


def test_what_is_written_can_be_looked_at(pieces: Pieces) -> None:
    piece = NetworkProgress(index=3, status="running", progress=0.5, epoch=1, epochs=2)
    news = News({MEMBER: 2e9}, {"together": 1}, {MEMBER: piece}, [MEMBER, MEMBER], [EPOCH])
    assert pieces.start(JOB, "2026-01-01")
    assert not pieces.start(JOB, "2026-01-02")
    pieces.write(JOB, news)
    assert pieces.claim(JOB, MEMBER, "worker")
    assert not pieces.claim(JOB, MEMBER, "another")
    glance = pieces.look(JOB)
    assert glance.started_at == "2026-01-01"
    assert (glance.operations, glance.plan) == ({"member-3": 2e9}, {"together": 1})
    assert glance.pieces == {"member-3": piece.model_copy(update={"attempts": 2})}
    assert glance.holders == {"member-3": "worker"}


def test_everything_in_redis_expires_or_is_forgotten(pieces: Pieces, redis: Redis) -> None:
    pieces.stay(JOB, "one")
    pieces.start(JOB, "2026-01-01")
    piece = NetworkProgress(index=3, epochs=2)
    pieces.write(JOB, News({MEMBER: 2e9}, {}, {MEMBER: piece}, [MEMBER], [EPOCH]))
    assert pieces.claim(JOB, MEMBER, "one")
    events = f"{PREFIX}{JOB}:events"  # which the job's end sets to expire
    forever = [key for key in redis.scan_iter() if redis.ttl(key) < 0]
    assert forever == [events]
    pieces.forget(JOB)
    pieces.leave(JOB, "one", in_order=True)
    assert set(redis.keys()) == {events, f"{PREFIX}{JOB}:part:member-3:lease"}
