"""When the queue refuses, gives up on, or forgets what it was asked."""

import asyncio

import httpx
import pytest
from fastapi import FastAPI

from app import problems
from models.errors import DeadlineExceeded, TooBusy
from tests.batches import PATIENCE_SECONDS, asked, batching, busy, measured


def test_more_than_may_wait_is_refused_at_once() -> None:
    async def scenario() -> None:
        async with busy(batcher, engine):
            tasks = await asked(batcher, ("a", [1, 2]))
            with pytest.raises(TooBusy, match="2 wait already") as refused:
                await batcher.ask("b", [3, 4], PATIENCE_SECONDS)
            assert refused.value.retry_after_seconds is None  # nothing is measured yet
            tasks += await asked(batcher, ("b", [5]))
        await asyncio.gather(*tasks)
        assert sorted(item for batch in engine.batches for item in batch) == [1, 2, 5]

    with batching(max_waiting=3) as (batcher, engine):
        asyncio.run(scenario())


def test_a_refusal_can_be_had_before_there_are_items() -> None:
    async def scenario() -> None:
        batcher.refuse_if_busy(PATIENCE_SECONDS)
        async with busy(batcher, engine):
            tasks = await asked(batcher, ("a", [1, 2]))
            batcher.refuse_if_busy(PATIENCE_SECONDS)
            tasks += await asked(batcher, ("a", [3]))
            with pytest.raises(TooBusy, match="3 wait already"):
                batcher.refuse_if_busy(PATIENCE_SECONDS)
        await asyncio.gather(*tasks)

    with batching(max_waiting=3) as (batcher, engine):
        asyncio.run(scenario())


def test_a_request_of_any_size_is_taken_when_nothing_waits() -> None:
    async def scenario() -> None:
        async with busy(batcher, engine):
            tasks = await asked(batcher, ("a", range(100)))
            with pytest.raises(TooBusy):
                await batcher.ask("a", [1], PATIENCE_SECONDS)
        assert len(await tasks[0]) == 100

    with batching(max_waiting=3) as (batcher, engine):
        asyncio.run(scenario())


def test_who_would_wait_for_longer_than_the_timeout_is_refused_at_once() -> None:
    async def scenario() -> None:
        await measured(batcher, engine, "ab")
        async with busy(batcher, engine):
            tasks = await asked(batcher, ("a", [1]), ("a", [2]), ("b", [3]))
            engine.now += 0.5
            with pytest.raises(TooBusy, match=r"about 3.5 s, and 3.4 s were given") as refused:
                await batcher.ask("a", [4], 3.4)  # half a batch in hand, and three
            assert refused.value.retry_after_seconds == 3.5
            tasks += await asked(batcher, ("a", [5]), timeout_seconds=10.0)
        await asyncio.gather(*tasks)
        assert sorted(item for batch in engine.batches for item in batch) == [1, 2, 3, 5]

    with batching(float) as (batcher, engine):
        asyncio.run(scenario())


def test_a_short_request_is_not_refused_for_a_long_one_that_waits() -> None:
    async def scenario() -> None:
        await measured(batcher, engine)
        async with busy(batcher, engine):
            long = await asked(batcher, ("a", range(100)))
            short = await asked(batcher, ("a", [1]), timeout_seconds=5.0)
            with pytest.raises(TooBusy) as refused:
                await batcher.ask("a", range(50), 5.0)
            assert refused.value.retry_after_seconds == 102 / 8  # until all that waits is done
        await asyncio.gather(*long, *short)

    with batching(lambda items: items / 8) as (batcher, engine):
        asyncio.run(scenario())


def test_a_timeout_that_is_over_already_is_told_as_such() -> None:
    async def scenario() -> None:
        with pytest.raises(DeadlineExceeded):
            await batcher.ask("a", [1], timeout_seconds=-0.1)
        assert engine.batches == []

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_a_timeout_is_kept_although_the_engine_is_still_at_it() -> None:
    async def scenario() -> None:
        engine.gate.clear()
        (task,) = await asked(batcher, ("a", [1]), timeout_seconds=0.01)
        with pytest.raises(DeadlineExceeded, match=r"not answered within 0.01 s"):
            await task
        assert not engine.gate.is_set()
        engine.gate.set()
        assert await batcher.ask("a", [2], PATIENCE_SECONDS) == ["a2"]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_what_has_not_begun_when_its_time_is_over_never_does() -> None:
    async def scenario() -> None:
        async with busy(batcher, engine):
            (late,) = await asked(batcher, ("a", [1, 2]), timeout_seconds=0.01)
            others = await asked(batcher, ("a", [3]))
            with pytest.raises(DeadlineExceeded):
                await late
            assert batcher.waiting == 1
        await asyncio.gather(*others)
        assert engine.batches == [[3]]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_a_deadline_counts_even_when_the_loop_is_too_late_to_tell() -> None:
    async def scenario() -> None:
        async with busy(batcher, engine):
            late = await asked(batcher, ("a", [1]), ("b", [2]), timeout_seconds=0.25)
            on_time = await asked(batcher, ("a", [3]), ("a", [4]))
            engine.now += 0.25  # by the clock; the loop's own timer is not there yet
        assert await asyncio.gather(*on_time) == [["a3"], ["a4"]]
        for task in late:
            with pytest.raises(DeadlineExceeded):
                await task
        assert engine.batches == [[3, 4]]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_what_has_not_begun_when_its_client_hangs_up_never_does() -> None:
    async def scenario() -> None:
        async with busy(batcher, engine):
            gone, stays, alone = await asked(batcher, ("a", [1, 2]), ("a", [3]), ("b", [4]))
            gone.cancel()
            alone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone
            assert batcher.waiting == 1
        assert await stays == ["a3"]
        assert engine.batches == [[3]]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_a_client_that_hangs_up_in_the_middle_of_a_batch_takes_no_answer_from_others() -> None:
    async def scenario() -> None:
        await measured(batcher, engine)
        engine.gate.clear()
        engine.began.clear()
        gone, stays = await asked(batcher, ("a", [1, 2, 3, 4]), ("a", [5, 6]))
        assert await asyncio.to_thread(engine.began.wait, PATIENCE_SECONDS)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        engine.gate.set()
        assert await stays == ["a5", "a6"]
        assert await batcher.ask("a", [7], PATIENCE_SECONDS) == ["a7"]
        assert engine.batches == [[1, 5, 2, 6], [7]]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


@pytest.mark.parametrize(("seconds", "header"), [(None, "10"), (0.2, "1"), (3.0, "3"), (3.01, "4")])
def test_who_is_refused_is_told_when_to_come_back(seconds: float | None, header: str) -> None:
    application = FastAPI()
    problems.install(application)

    @application.get("/")
    async def refuse() -> None:
        raise TooBusy("full", seconds)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get("/")

    response = asyncio.run(ask())
    assert (response.status_code, response.headers["Retry-After"]) == (429, header)
