"""Requests that wait for one engine, and what it is to do next: everybody in turn."""

import asyncio
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.batch_costs import Costs
from models.engine import EIGHT


@dataclass(eq=False, slots=True)
class Line:
    """The requests of one key that have items to begin.

    Attributes:
        key: of all of them.
        costs: of their batches.
        requests: the one whose turn is next first.
        items: not begun, of all requests.
    """

    key: Any
    costs: Costs
    requests: deque["Request"] = field(default_factory=deque)
    items: int = 0


@dataclass(eq=False, slots=True)
class Request:
    """What one ``ask`` waits for. Times are the clock's, in seconds.

    Attributes:
        line: where it waits.
        items: to answer, begun from the first to the last.
        arrived: when it came.
        deadline: what has not begun by then never will.
        ended: done when there is something to tell: ``error``, or all answers.
        begun: how many items the engine was given; all, once nobody wants the others.
        answers: by the item's place; batches may end in another order than they began.
        error: why there are no answers.
    """

    line: Line
    items: Sequence[Any]
    arrived: float
    deadline: float
    ended: asyncio.Future[None]
    begun: int = 0
    answers: dict[int, Any] = field(default_factory=dict)
    error: BaseException | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Items that the engine answers together.

    Attributes:
        line: where they come from.
        requests: for each item, whose it is.
        places: for each item, its place among the request's.
        items: the items.
        arrived: when the first of them came.
        expected_end: when the engine should be done; when it begins, while no cost is known.
        beside: how many others the engine had when this one began.
    """

    line: Line
    requests: list[Request]
    places: list[int]
    items: list[Any]
    arrived: float
    expected_end: float
    beside: int


class Turns:
    """All that waits.

    Requests of one key take turns item by item, and keys take turns batch by batch, so a long
    request holds up a short one by little, and nobody waits for ever. A key whose
    requests are gone is let go at its turn.
    """

    def __init__(self) -> None:
        self._lines: dict[Hashable, Line] = {}  # the one whose turn is next first

    def __bool__(self) -> bool:
        return bool(self._lines)

    @property
    def items(self) -> int:
        """Items that have not begun."""
        return sum(line.items for line in self._lines.values())

    @property
    def requests(self) -> list[Request]:
        """Requests with items that have not begun."""
        return [request for line in self._lines.values() for request in line.requests]

    def line(self, key: Hashable) -> Line | None:
        """Return the line of one key, if there is one."""
        return self._lines.get(key)

    def seconds_before(self, items: int) -> float:
        """Return about how long the engine takes before it is done with one more request.

        As requests take turns, of each about as many items come first as the new one has itself.

        Args:
            items: how many the new request has; its own are not counted.
        """
        return sum(
            min(line.items, len(line.requests) * items) * line.costs.item_seconds
            for line in self._lines.values()
        )

    def put(self, request: Request) -> None:
        """Let a new request wait behind all others of its key."""
        line = request.line
        line.requests.append(request)
        line.items += len(request.items)
        self._lines[line.key] = line  # which keeps its turn, if it had one

    def take(self, max_items: int, now: float, beside: int = 0) -> Batch | None:
        """Return the next batch, or None where nothing waits whose time is not over.

        Args:
            max_items: at most so many.
            now: the time.
            beside: how many other batches the engine has.
        """
        while self._lines:
            line = next(iter(self._lines.values()))
            size = min(line.costs.size(line.items), max_items)
            if min(size, line.items) > EIGHT:  # engines are at their best with eights
                size = min(size, line.items) // EIGHT * EIGHT
            requests: list[Request] = []
            places: list[int] = []
            items: list[Any] = []
            while line.requests and len(items) < size:
                request = line.requests[0]
                if request.deadline <= now:
                    self.withdraw(request)
                    continue
                line.requests.popleft()
                requests.append(request)
                places.append(request.begun)
                items.append(request.items[request.begun])
                request.begun += 1
                line.items -= 1
                if request.begun < len(request.items):
                    line.requests.append(request)
            del self._lines[line.key]
            if line.requests:
                self._lines[line.key] = line  # behind the other keys
            if items:
                arrived = min(request.arrived for request in requests)
                seconds = len(items) * line.costs.item_seconds * (1 + beside)
                return Batch(line, requests, places, items, arrived, now + seconds, beside)
        return None

    def withdraw(self, request: Request) -> None:
        """Let no more items of a request begin."""
        left = len(request.items) - request.begun
        if not left:
            return
        line = request.line
        request.begun += left
        line.items -= left
        line.requests.remove(request)
