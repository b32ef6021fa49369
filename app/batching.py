"""The queue between those who ask and the engine that answers: bounded, batched, in turns."""

import asyncio
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from app.batch_costs import KnownCosts
from app.turns import Batch, Line, Request, Turns
from models.errors import DeadlineExceeded, Stopped, TooBusy

Key = TypeVar("Key", bound=Hashable)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class BatchDone:
    """One batch that the engine has done, or failed at.

    Attributes:
        items: how many were in it.
        waited_seconds: of the item that had waited longest, until the engine began.
        engine_seconds: that the engine took.
    """

    items: int
    waited_seconds: float
    engine_seconds: float


def _tell_nobody(_: BatchDone) -> None:
    pass


class Batcher(Generic[Key, Item, Answer]):
    """Puts items of many requests into batches of one key, and runs one batch on each lane.

    A batch is whatever waits when a lane is free, up to the size that ``Costs`` finds best. An
    item that finds a lane idle begins in the event loop's next turn, together with what else
    comes in this one; otherwise batches form by themselves while all are busy. Whose items
    go first is up to ``Turns``.

    All methods belong to one event loop at a time. There is nothing to start and no task: when a
    loop ends, those who waited end with it, and the next loop finds an empty queue.

    Args:
        run: answers items of one key, on the executor. Is told the key, the items, and how many
            seconds the first of them has waited; returns as many answers, in order. What it raises
            is raised to every request of its batch, and to no other.
        executor: of as many threads as there are lanes.
        lanes: batches that the engine gets on with side by side. It is taken to share itself out
            evenly among them, so one that is alone goes the faster.
        max_waiting: items that may wait, not counting those the engine has. A request that comes
            when none waits is taken however large it is.
        observe: is told of each batch when it is over.
        max_batch: items in one batch at most.
        cost_of: what the costs of a key are remembered by. Keys are let go after their last
            request and this is not, so it must hold no ensemble; the key's hash unless told.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        run: Callable[[Key, list[Item], float], Sequence[Answer]],
        executor: Executor,
        *,
        lanes: int = 1,
        max_waiting: int,
        observe: Callable[[BatchDone], None] = _tell_nobody,
        max_batch: int = 128,
        cost_of: Callable[[Key], Hashable] = hash,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._executor = executor
        self._lanes = lanes
        self._max_waiting = max_waiting
        self._observe = observe
        self._max_batch = max_batch
        self._cost_of = cost_of
        self._clock = clock
        self._costs = KnownCosts()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns = Turns()
        self._in_hand: list[Batch] = []

    async def ask(self, key: Key, items: Sequence[Item], timeout_seconds: float) -> list[Answer]:
        """Return the answers to items, in their order.

        Where this is cancelled, items that have not begun never will.

        Raises:
            TooBusy: too many items wait, or the wait is likely to be longer than the timeout; said
                at once, with the seconds until what waits now is done, where they are known.
            DeadlineExceeded: the timeout passed; items that had not begun never will.
            Stopped: the batcher was closed before all items had begun.
            BaseException: whatever ``run`` raised.
        """
        if not items:
            return []
        if self._closed:
            raise Stopped("the service is stopping")
        if timeout_seconds <= 0:
            raise DeadlineExceeded("the time given was over before there was anything to compute")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # the first, or that of before has ended
            self._loop, self._turns, self._in_hand = loop, Turns(), []
        self.refuse_if_busy(timeout_seconds, len(items))
        line = self._turns.line(key) or Line(key, self._costs.of(self._cost_of(key)))
        now = self._clock()
        request = Request(line, items, now, now + timeout_seconds, loop.create_future())
        if not self._turns and len(self._in_hand) < self._lanes:
            loop.call_soon(self._begin)
        self._turns.put(request)
        timer = loop.call_later(timeout_seconds, self._expire, request)
        try:
            await request.ended
        finally:
            timer.cancel()
            self._turns.withdraw(request)
        if request.error is not None:
            raise request.error
        return [request.answers[place] for place in range(len(items))]

    def full(self, items: int = 1) -> TooBusy | None:
        """Return why so many items more may not wait, however much time they have; none if so."""
        waiting = self.waiting
        if not waiting or waiting + items <= self._max_waiting:
            return None
        reason = f"{waiting} wait already, and with these more than {self._max_waiting} would"
        return TooBusy(reason, self._seconds_before(waiting) or None)

    def refuse_if_busy(self, timeout_seconds: float, items: int = 1) -> None:
        """Say at once what ``ask`` would, before anything is spent on reading the items.

        Args:
            timeout_seconds: as for ``ask``.
            items: how many there are, at least.

        Raises:
            TooBusy: as from ``ask``.
        """
        if error := self.full(items):
            raise error
        if (seconds := self._seconds_before(items)) > timeout_seconds:
            reason = f"the wait is about {seconds:.3g} s, and {timeout_seconds:.3g} s were given"
            raise TooBusy(reason, self._seconds_before(self.waiting) or None)

    def close(self) -> None:
        """End what waits, and take nothing more; what the engine has begun is still answered."""
        self._closed = True
        for request in self._turns.requests:
            self._end(request, Stopped("the service is stopping"))

    @property
    def waiting(self) -> int:
        """Items that have not begun."""
        return self._turns.items

    @property
    def delay_seconds(self) -> float:
        """About how long one item that came now would wait; 0 while no cost is known."""
        return self._seconds_before(1)

    def _seconds_before(self, items: int) -> float:
        # Of what the lanes have in hand, each picture costs what one costs a whole engine.
        rest = sum(max(0.0, batch.expected_end - self._clock()) for batch in self._in_hand)
        return rest / self._lanes + self._turns.seconds_before(items)

    def _begin(self) -> None:
        while len(self._in_hand) < self._lanes:
            beside = len(self._in_hand)
            batch = self._turns.take(self._max_batch, self._clock(), beside)
            if batch is None:
                return
            try:
                self._executor.submit(self._work, batch, asyncio.get_running_loop())
            except RuntimeError as error:  # it was shut down
                self._fail(batch, error)
            else:
                self._in_hand.append(batch)

    def _work(self, batch: Batch, loop: asyncio.AbstractEventLoop) -> None:
        began = self._clock()
        waited = began - batch.arrived
        outcome: list[Answer] | BaseException
        try:
            outcome = list(self._run(batch.line.key, batch.items, waited))
            if len(outcome) != len(batch.items):
                outcome = ValueError(f"{len(outcome)} answers to {len(batch.items)} items")
        except BaseException as error:  # noqa: BLE001  # whatever it is, somebody waits for it
            outcome = error
        done = BatchDone(len(batch.items), waited, self._clock() - began)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(self._finish, batch, outcome, done)

    def _finish(self, batch: Batch, outcome: list[Answer] | BaseException, done: BatchDone) -> None:
        if batch in self._in_hand:  # it is not, if it was begun in a loop that has ended
            self._in_hand.remove(batch)
        if isinstance(outcome, BaseException):
            self._fail(batch, outcome)
        else:
            batch.line.costs.note(done.items, done.engine_seconds / (1 + batch.beside))
            for request, place, answer in zip(batch.requests, batch.places, outcome, strict=True):
                request.answers[place] = answer
                if len(request.answers) == len(request.items):
                    self._end(request)
        self._begin()
        self._observe(done)

    def _fail(self, batch: Batch, error: BaseException) -> None:
        for request in batch.requests:
            self._end(request, error)

    def _expire(self, request: Request) -> None:
        seconds = request.deadline - request.arrived
        self._end(request, DeadlineExceeded(f"not answered within {seconds:.3g} s"))

    def _end(self, request: Request, error: BaseException | None = None) -> None:
        if not request.ended.done():
            request.error = error
            request.ended.set_result(None)
        self._turns.withdraw(request)
