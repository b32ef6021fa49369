"""How many may follow something at once, each of whom holds a connection."""

from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import TooBusy


class Followers:
    """Counts those that follow something now. To be used by one event loop.

    Args:
        most: so many are let in.
        refusal: what one more is told.

    Attributes:
        count: so many there are.
    """

    def __init__(self, most: int, refusal: str) -> None:
        self.count = 0
        self._most = most
        self._refusal = refusal

    @property
    def are_most(self) -> bool:
        """Whether there are as many as there may be."""
        return self.count >= self._most

    def check(self) -> None:
        """Refuse one more, if it would be too many.

        Raises:
            TooBusy: there are as many as there may be.
        """
        if self.are_most:
            raise TooBusy(f"{self._most} {self._refusal}")

    @contextmanager
    def another(self) -> Iterator[None]:
        """Let one more follow within a block.

        Raises:
            TooBusy: there are as many as there may be.
        """
        self.check()
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
