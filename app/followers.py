"""How many clients may follow jobs at once, each of whom holds a connection to Redis."""

from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import TooBusy


class Followers:
    """Counts the clients that follow jobs now. To be used by one event loop.

    Args:
        most: so many are let in.

    Attributes:
        count: so many there are.
    """

    def __init__(self, most: int) -> None:
        self.count = 0
        self._most = most

    @contextmanager
    def another(self) -> Iterator[None]:
        """Let one more follow a job within a block.

        Raises:
            TooBusy: there are as many as there may be.
        """
        if self.count >= self._most:
            raise TooBusy(f"{self._most} clients follow jobs already; ask for the job itself")
        self.count += 1
        try:
            yield
        finally:
            self.count -= 1
