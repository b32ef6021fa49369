"""What batches of each kind take, as measured, and how large they had better be."""

from collections.abc import Hashable

KINDS_KEPT = 32
"""Kinds of batches whose costs are remembered; the one asked for longest ago goes first."""

NEWEST = 0.3
"""How much the newest batch weighs in the mean of its size."""

REMEMBERED_BATCHES = 1000
"""What was not measured during so many batches is forgotten."""


class Costs:
    """What batches of one kind take, and how large they had better be.

    Sizes are told apart by the power of two they round up to, and each has an exponentially
    weighted mean of the seconds per item. The best size is the smallest that costs at most a tenth
    more than the cheapest: larger ones only make everybody wait longer. When more wait than the
    largest size measured, twice that is tried. Measurements that are old are forgotten, so a size
    that was slow by chance is tried again.

    Attributes:
        item_seconds: per item at the best size; 0 while nothing is known.
    """

    def __init__(self) -> None:
        self.item_seconds = 0.0
        self._best = 1
        self._largest = 0
        self._batches = 0
        self._means: dict[int, tuple[float, int]] = {}  # by size: seconds per item, last batch

    def note(self, items: int, seconds: float) -> None:
        """Take in that a batch of so many items took so long."""
        self._batches += 1
        size = 1 << (items - 1).bit_length()
        mean, _ = self._means.get(size, (seconds / items, 0))
        self._means[size] = (mean + NEWEST * (seconds / items - mean), self._batches)
        old = self._batches - REMEMBERED_BATCHES
        self._means = {size: known for size, known in self._means.items() if known[1] > old}
        cheapest = min(mean for mean, _ in self._means.values())
        self._best = min(size for size, (mean, _) in self._means.items() if mean <= 1.1 * cheapest)
        self._largest = max(self._means)
        self.item_seconds = self._means[self._best][0]

    def size(self, waiting: int) -> int:
        """Return how many items to take at most when so many wait."""
        return max(1, 2 * self._largest) if waiting > self._largest else self._best


class KnownCosts:
    """The costs of the kinds of batches that were asked for last."""

    def __init__(self) -> None:
        self._costs: dict[Hashable, Costs] = {}  # asked for longest ago first

    def of(self, kind: Hashable) -> Costs:
        """Return what is known of a kind; of one that is new, or forgotten, nothing."""
        costs = self._costs.pop(kind) if kind in self._costs else Costs()
        self._costs[kind] = costs
        if len(self._costs) > KINDS_KEPT:
            del self._costs[next(iter(self._costs))]
        return costs
