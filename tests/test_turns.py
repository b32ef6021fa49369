"""Whose items go first when many wait."""

import asyncio

from tests.batches import asked, batching, busy, measured


def test_requests_take_turns_item_by_item() -> None:
    async def scenario() -> None:
        await measured(batcher, engine)
        async with busy(batcher, engine):
            tasks = await asked(
                batcher, ("a", [1, 2, 3, 4, 5]), ("a", [10]), ("a", [20, 21, 22]), ("a", [30])
            )
        await asyncio.gather(*tasks)
        assert engine.batches == [[1, 10, 20, 30], [2, 21, 3, 22], [4, 5]]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_a_long_request_holds_up_a_short_one_by_one_batch_at_most() -> None:
    async def scenario() -> None:
        await measured(batcher, engine)
        async with busy(batcher, engine):
            long, short = await asked(batcher, ("a", range(1, 257)), ("a", [1000]))
        assert await short == ["a1000"]
        assert not long.done()
        assert 1000 in engine.batches[0]
        await long

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_large_batches_are_a_multiple_of_eight() -> None:
    async def scenario() -> None:
        for _ in range(3):
            async with busy(batcher, engine):
                tasks = await asked(batcher, ("a", range(1, 62)))
            await asyncio.gather(*tasks)
        sizes = [len(batch) for batch in engine.batches]
        assert sum(sizes) == 61
        assert max(sizes) == 16
        assert all(size % 8 == 0 for size in sizes if size > 8)

    with batching(max_batch=20) as (batcher, engine):
        asyncio.run(scenario())


def test_a_batch_is_of_one_key() -> None:
    async def scenario() -> None:
        await measured(batcher, engine, "ab")
        async with busy(batcher, engine):
            tasks = await asked(batcher, ("a", [1]), ("b", [2]), ("a", [3]), ("b", [4]))
        assert await asyncio.gather(*tasks) == [["a1"], ["b2"], ["a3"], ["b4"]]
        assert engine.keys == ["a", "b"]
        assert engine.batches == [[1, 3], [2, 4]]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_keys_take_turns_and_the_one_that_waited_longest_is_next() -> None:
    async def scenario() -> None:
        await measured(batcher, engine, "abc")
        async with busy(batcher, engine):
            tasks = await asked(
                batcher, ("c", range(12)), ("a", range(8)), ("b", range(4)), ("c", [12])
            )
        await asyncio.gather(*tasks)
        assert engine.keys == ["c", "a", "b", "c", "a", "c", "c"]

    with batching() as (batcher, engine):
        asyncio.run(scenario())


def test_a_key_that_never_runs_dry_does_not_keep_another_from_its_turn() -> None:
    async def scenario() -> None:
        await measured(batcher, engine, "ab")
        async with busy(batcher, engine):
            (other,) = await asked(batcher, ("b", [1]))
            tasks = await asked(batcher, *(("a", range(4)) for _ in range(5)))
        assert await other == ["b1"]
        assert engine.keys[0] == "b"
        await asyncio.gather(*tasks)
        engine.forget()
        async with busy(batcher, engine):
            tasks = await asked(batcher, *(("a", range(4)) for _ in range(5)), ("b", [1]))
        await asyncio.gather(*tasks)
        assert engine.keys == ["a", "b", "a", "a", "a", "a"]

    with batching() as (batcher, engine):
        asyncio.run(scenario())
