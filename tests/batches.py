"""An engine for batches that tests can look into: it stands still when told, and keeps the time."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

from app.batching import BatchDone, Batcher

Task = asyncio.Task[list[str]]

PATIENCE_SECONDS = 60.0
"""For what should take no time at all."""


class Engine:
    """Answers 7 of key "a" with "a7", one batch after the other.

    Args:
        seconds: that a batch of so many items takes, by the clock that it keeps itself.

    Attributes:
        now: its clock.
        gate: closed while the engine has to wait in the middle of a batch.
        began: set as soon as the engine is in a batch.
        keys, batches, waited_seconds: what it was asked, batch by batch.
        fails_at: an item that it fails at, and the error.
    """

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.now = 0.0
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.fails_at: tuple[int, BaseException] | None = None
        self.forget()
        self._seconds = seconds

    def forget(self) -> None:
        """Begin a new list of batches."""
        self.keys: list[str] = []
        self.batches: list[list[int]] = []
        self.waited_seconds: list[float] = []

    def run(self, key: str, items: list[int], waited_seconds: float) -> list[str]:
        """Answer a batch, once the gate is open."""
        self.keys.append(key)
        self.batches.append(items)
        self.waited_seconds.append(waited_seconds)
        self.began.set()
        assert self.gate.wait(PATIENCE_SECONDS)
        self.now += self._seconds(len(items))
        if self.fails_at and self.fails_at[0] in items:
            raise self.fails_at[1]
        return [f"{key}{item}" for item in items]


@contextmanager
def batching(
    seconds: Callable[[int], float] = lambda _: 0.125,
    *,
    max_waiting: int = 1000,
    max_batch: int = 4,
    lanes: int = 1,
    observe: Callable[[BatchDone], None] = lambda _: None,
) -> Iterator[tuple[Batcher[str, int, str], Engine]]:
    """Yield a batcher and its engine; a batch takes an eighth of a second unless told."""
    engine = Engine(seconds)
    with ThreadPoolExecutor(lanes) as executor:
        yield (
            Batcher(
                engine.run,
                executor,
                lanes=lanes,
                max_waiting=max_waiting,
                max_batch=max_batch,
                observe=observe,
                clock=lambda: engine.now,
            ),
            engine,
        )


async def measured(batcher: Batcher[str, int, str], engine: Engine, keys: str = "a") -> None:
    """Let the batcher measure batches of all sizes up to 4, and the engine forget them."""
    for key in keys:
        await batcher.ask(key, range(7), PATIENCE_SECONDS)
    engine.forget()


async def asked(
    batcher: Batcher[str, int, str],
    *requests: tuple[str, Iterable[int]],
    timeout_seconds: float = PATIENCE_SECONDS,
) -> list[Task]:
    """Ask in this order; when this returns, all wait."""
    tasks = [
        asyncio.create_task(batcher.ask(key, [*items], timeout_seconds)) for key, items in requests
    ]
    await asyncio.sleep(0)
    return tasks


@asynccontextmanager
async def busy(batcher: Batcher[str, int, str], engine: Engine) -> AsyncIterator[Task]:
    """Keep the engine in a batch of item 0 of key "a", and forget it; yield who asked for it."""
    engine.gate.clear()
    engine.began.clear()
    (task,) = await asked(batcher, ("a", [0]))
    assert await asyncio.to_thread(engine.began.wait, PATIENCE_SECONDS)
    engine.forget()
    try:
        yield task
    finally:
        engine.gate.set()
