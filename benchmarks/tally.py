"""What the load generator counts, and what it makes of it."""

import math
import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_KEPT = 20_000
"""Latencies kept of each status; of more than so many a random sample (Vitter 1985, "R")."""


@dataclass(frozen=True)
class Outcome:
    """What came back.

    Attributes:
        seconds: how long answers were counted.
        due: requests that were to be sent in that time, whether they were answered or not.
        statuses: answers by status; 0 for connections that ended before the answer.
        latencies_ms: ``mean``, ``p50``, ``p90``, ``p99`` and ``max`` by status.
        cpu_seconds: of the generator itself, while it counted.
        answered: answers with status 200 in all, warm-up included.
        answers: bodies by the index of their request.
        backlog: most requests due at one moment that found no connection free.
    """

    seconds: float
    due: int
    statuses: Mapping[int, int]
    latencies_ms: Mapping[int, Mapping[str, float]]
    cpu_seconds: float
    answered: int = 0
    answers: Mapping[int, str] = field(default_factory=dict, repr=False)
    backlog: int = 0

    @property
    def rate(self) -> float:
        """Answers with status 200 a second."""
        return self.statuses.get(200, 0) / self.seconds

    @property
    def failures(self) -> int:
        """Answers with another status, and lost connections."""
        return sum(self.statuses.values()) - self.statuses.get(200, 0)


class Tally:
    """Counts answers between two moments.

    Args:
        begin: in seconds of ``time.perf_counter``.
        end: the same.
        keep: keep the body of the first answer with status 200 to so many of the requests.
    """

    def __init__(self, begin: float, end: float, keep: int) -> None:
        self._begin, self._end, self._keep = begin, end, keep
        self._statuses: Counter[int] = Counter()
        self._latencies: dict[int, list[float]] = {}
        self._answers: dict[int, str] = {}
        self._random = random.Random(0)  # noqa: S311  # only chooses which latencies are kept
        self._answered = self.due = self.backlog = 0

    def sent(self, due: float) -> None:
        """Count a request that is sent, or is to be sent, at this moment."""
        self.due += self._begin <= due < self._end

    def answered(self, status: int, seconds: float, index: int, whole: bytes) -> None:
        """Count an answer that came now."""
        self._answered += status == 200
        if self._begin <= time.perf_counter() < self._end:
            self._statuses[status] += 1
            kept = self._latencies.setdefault(status, [])
            if len(kept) < MOST_KEPT:
                kept.append(seconds)
            elif (place := self._random.randrange(self._statuses[status])) < MOST_KEPT:
                kept[place] = seconds
        if status == 200 and index < self._keep and index not in self._answers:
            self._answers[index] = whole.partition(b"\r\n\r\n")[2].decode()

    def outcome(self, cpu_seconds: float) -> Outcome:
        """Return what was counted."""
        return Outcome(
            seconds=self._end - self._begin,
            due=self.due,
            statuses=dict(self._statuses),
            latencies_ms={status: summary(found) for status, found in self._latencies.items()},
            cpu_seconds=cpu_seconds,
            answered=self._answered,
            answers=self._answers,
            backlog=self.backlog,
        )


def summary(seconds: list[float]) -> dict[str, float]:
    """Return mean, percentiles and maximum in milliseconds."""
    ordered = sorted(seconds)
    found = {f"p{share}": percentile(ordered, share) for share in (50, 90, 99)}
    found |= {"mean": sum(ordered) / len(ordered), "max": ordered[-1]}
    return {name: value * 1000 for name, value in found.items()}


def percentile(ordered: list[float], share: float) -> float:
    """Return the smallest value that so many percent of all do not exceed (the nearest rank)."""
    return ordered[max(0, math.ceil(share / 100 * len(ordered)) - 1)]
