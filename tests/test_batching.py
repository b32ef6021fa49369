"""The queue between those who ask and the one engine that answers."""

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.batching import BatchDone, Batcher
from models.errors import Stopped
from tests.batches import PATIENCE_SECONDS, asked, batching, busy, measured


def test_answers_come_in_the_order_of_the_items() -> None:
    async def scenario() -> None:
        items = [7, 3, 9, 3, 8, 1, 0, 2, 5, 4]
        tasks = await asked(batcher, ("a", items), ("a", []), ("a", [6]))
        assert [await task for task in tasks] == [[f"a{item}" for item in items], [], ["a6"]]
        assert len(engine.batches) > 2

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_an_item_that_finds_the_engine_idle_begins_in_the_next_turn_of_the_loop() -> None:
    async def scenario() -> None:
        (task,) = await asked(batcher, ("a", [1]))
        assert batcher.waiting == 1
        await asyncio.sleep(0)
        assert batcher.waiting == 0
        assert await task == ["a1"]

    with batching() as (batcher, _):
        asyncio.run(scenario())


def test_what_comes_in_the_same_turn_of_the_loop_shares_a_batch() -> None:
    async def scenario() -> None:
        await measured(batcher, engine)
        await asyncio.gather(*await asked(batcher, ("a", [1]), ("a", [2]), ("a", [3])))
        assert engine.batches == [[1, 2, 3]]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_batches_form_while_the_engine_is_busy() -> None:
    async def scenario() -> None:
        await measured(batcher, engine)
        async with busy(batcher, engine):
            tasks = [(await asked(batcher, ("a", [item])))[0] for item in (1, 2, 3)]
            assert engine.batches == []  # one batch at a time
        await asyncio.gather(*tasks)
        assert engine.batches == [[1, 2, 3]]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_batches_grow_while_that_makes_them_cheaper_up_to_the_limit() -> None:
    with batching(max_batch=24) as (batcher, engine):
        asyncio.run(batcher.ask("a", range(90), PATIENCE_SECONDS))
        assert [len(batch) for batch in engine.batches] == [1, 2, 4, 8, 16, 24, 24, 8, 3]


def test_batches_stay_small_where_large_ones_are_no_cheaper() -> None:
    with batching(lambda items: max(4, items) / 8, max_batch=128) as (batcher, engine):
        asyncio.run(batcher.ask("a", range(265), PATIENCE_SECONDS))
        assert [len(batch) for batch in engine.batches] == [1, 2, 4, 8, 16, 32, 64, 128, 4, 4, 2]


def test_each_kind_of_key_has_costs_of_its_own() -> None:
    async def scenario() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher[str, int, int](
                lambda _, items, __: items,
                executor,
                max_waiting=1000,
                max_batch=4,
                observe=lambda done: sizes.append(done.items),
                cost_of=str.lower,
            )
            for key in "aAb":
                await batcher.ask(key, range(7), PATIENCE_SECONDS)

    sizes: list[int] = []
    asyncio.run(scenario())
    assert sizes[:3] == [1, 2, 4]
    assert sizes[-3:] == [1, 2, 4]
    assert sizes[3:-3] != [1, 2, 4]


def test_as_many_batches_as_lanes_are_under_way() -> None:
    async def scenario() -> None:
        engine.gate.clear()
        tasks = [(await asked(batcher, ("a", [item])))[0] for item in (1, 2, 3)]
        while len(engine.batches) < 2:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert (sorted(engine.batches), batcher.waiting) == ([[1], [2]], 1)
        engine.gate.set()
        assert await asyncio.gather(*tasks) == [["a1"], ["a2"], ["a3"]]

    with batching(lanes=2) as (batcher, engine):
        asyncio.run(scenario())


def test_answers_keep_their_order_when_a_later_batch_is_faster() -> None:
    def run(_: str, items: list[int], __: float) -> list[int]:
        if 0 in items:
            assert others_done.wait(PATIENCE_SECONDS)
        elif 3 in items:
            others_done.set()
        return [item * 10 for item in items]

    async def scenario() -> None:
        batcher = Batcher(run, executor, lanes=2, max_waiting=10, max_batch=1)
        assert await batcher.ask("a", [0, 1, 2, 3], PATIENCE_SECONDS) == [0, 10, 20, 30]

    others_done = threading.Event()
    with ThreadPoolExecutor(2) as executor:
        asyncio.run(scenario())


def test_a_batch_beside_another_is_known_to_have_had_half_the_engine() -> None:
    now = [0.0]

    def run(key: str, items: list[int], _: float) -> list[int]:
        began.release()
        if key == "a":  # all the time that the other takes
            assert other_done.wait(PATIENCE_SECONDS)
        else:
            now[0] += len(items)
        return items

    async def scenario() -> None:
        batcher = Batcher(run, executor, lanes=2, max_waiting=10, max_batch=1, clock=lambda: now[0])
        (first,) = [asyncio.create_task(batcher.ask("a", [1], PATIENCE_SECONDS))]
        assert await asyncio.to_thread(began.acquire, timeout=PATIENCE_SECONDS)
        await batcher.ask("b", [1], PATIENCE_SECONDS)
        other_done.set()
        await first
        waits = asyncio.create_task(batcher.ask("b", [2], PATIENCE_SECONDS))
        await asyncio.sleep(0)
        assert batcher.delay_seconds == pytest.approx(0.5)
        await waits

    began, other_done = threading.Semaphore(0), threading.Event()
    with ThreadPoolExecutor(2) as executor:
        asyncio.run(scenario())


def test_a_failure_is_told_to_the_requests_of_its_batch_and_to_no_other() -> None:
    class Odd(BaseException):
        """Not even an Exception."""

    async def scenario() -> None:
        await measured(batcher, engine)
        engine.fails_at = (2, Odd("bad luck"))
        async with busy(batcher, engine) as before:
            tasks = await asked(batcher, ("a", [1]), ("a", [2, 5, 6, 7]), ("a", [3]), ("b", [2]))
            tasks += await asked(batcher, ("a", [4, 4]), ("a", [8]))
        assert await before == ["a0"]
        told = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [error for error in told if isinstance(error, Odd)]
        assert told == [*failed[:3], failed[3], *failed[4:], ["a8"]]
        assert [str(error) for error in failed] == ["bad luck"] * 5
        assert engine.batches == [[1, 2, 3, 4], [2], [8]]  # nobody waits for 5, 6 and 7 any more
        assert await batcher.ask("a", [9], PATIENCE_SECONDS) == ["a9"]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_an_engine_that_forgets_an_answer_has_failed() -> None:
    with ThreadPoolExecutor(1) as executor:
        batcher = Batcher[str, int, int](lambda _, items, __: items[1:], executor, max_waiting=9)
        with pytest.raises(ValueError, match="0 answers to 1 items"):
            asyncio.run(batcher.ask("a", [1], PATIENCE_SECONDS))


def test_an_executor_that_takes_nothing_more_leaves_nobody_waiting() -> None:
    async def scenario() -> None:
        tasks = await asked(batcher, ("a", [1, 2]), ("b", [3]))
        told = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(error) for error in told] == [RuntimeError, RuntimeError]
        assert batcher.waiting == 0

    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    batcher = Batcher[str, int, str](lambda *_: [], executor, max_waiting=9)
    asyncio.run(scenario())


def test_closing_ends_what_waits_and_answers_what_has_begun() -> None:
    async def scenario() -> None:
        async with busy(batcher, engine) as begun:
            waiting = await asked(batcher, ("a", [1]), ("a", [2, 3]), ("b", [4]))
            batcher.close()
            assert batcher.waiting == 0
            for task in waiting:  # while the engine is still busy
                with pytest.raises(Stopped, match="stopping"):
                    await task
        assert await begun == ["a0"]
        with pytest.raises(Stopped):
            await batcher.ask("a", [5], PATIENCE_SECONDS)
        assert engine.batches == []

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_the_next_event_loop_finds_an_empty_queue_and_a_free_engine() -> None:
    async def leave() -> None:
        engine.gate.clear()
        await asked(batcher, ("a", [1]))
        await asyncio.sleep(0)
        await asked(batcher, ("a", [2]))
        assert batcher.waiting == 1

    async def come_back() -> None:
        (task,) = await asked(batcher, ("a", [3]))
        engine.gate.set()
        assert await task == ["a3"]

    with batching() as (batcher, engine):
        asyncio.run(leave())
        asyncio.run(come_back())
        assert engine.batches == [[1], [3]]


def test_a_key_is_let_go_after_its_last_request() -> None:
    class Ensemble:
        """Large."""

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher[Ensemble, int, int](
                lambda _, items, __: items, executor, max_waiting=9
            )
            ensemble = Ensemble()
            held = weakref.ref(ensemble)
            await batcher.ask(ensemble, range(5), PATIENCE_SECONDS)
            del ensemble
            executor.submit(int).result()  # the thread has turned to something else
            gc.collect()
            assert held() is None

    asyncio.run(scenario())


def test_each_batch_is_observed_with_what_it_took() -> None:
    async def scenario() -> None:
        await measured(batcher, engine)
        observed.clear()
        async with busy(batcher, engine):
            tasks = await asked(batcher, ("a", [1]))
            engine.now += 5
            tasks += await asked(batcher, ("a", [2]))
        await asyncio.gather(*tasks)
        assert observed == [BatchDone(1, 0.0, 5.125), BatchDone(2, 5.125, 0.125)]
        assert engine.waited_seconds == [5.125]

    observed: list[BatchDone] = []
    with batching(observe=observed.append) as (batcher, engine):
        asyncio.run(scenario())


def test_what_waits_and_for_how_long_can_be_seen() -> None:
    async def scenario() -> None:
        await measured(batcher, engine, "ab")
        assert (batcher.waiting, batcher.delay_seconds) == (0, 0.0)
        async with busy(batcher, engine):
            assert (batcher.waiting, batcher.delay_seconds) == (0, 2.0)
            engine.now += 0.5
            assert batcher.delay_seconds == 1.5
            engine.now += 9
            assert batcher.delay_seconds == 0.0  # overdue, but never less than nothing
            tasks = await asked(batcher, ("a", [1]), ("b", [2]))
            assert (batcher.waiting, batcher.delay_seconds) == (2, 2 * 2.0)
            tasks += await asked(batcher, ("a", range(10)))
            assert (batcher.waiting, batcher.delay_seconds) == (
                12,
                3 * 2.0,
            )  # one of it comes first
        await asyncio.gather(*tasks)
        assert (batcher.waiting, batcher.delay_seconds) == (0, 0.0)

    with batching(lambda items: 2.0 * items) as (batcher, engine):
        asyncio.run(scenario())
