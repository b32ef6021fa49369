"""Turns at work on data sets that takes seconds, for requests that must not all wait for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import TooBusy


class OneAtATime:
    """A turn that one thread has, for which a few may wait.

    Args:
        done: what is done to a data set in a turn, for messages.
        most_waiting: more than so many are turned away at once, for each of them holds a thread
            that others need.
        seconds: after which also those that wait are turned away.
    """

    def __init__(self, done: str, *, most_waiting: int, seconds: float) -> None:
        self._done = done
        self._seconds = seconds
        self._free = 1 + most_waiting
        self._counts = threading.Lock()
        self._turn = threading.Lock()

    def is_full(self) -> bool:
        """Say whether the next one would be turned away."""
        return self._free == 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn and have it within a block.

        Raises:
            TooBusy: it is not to be had.
        """
        with self._counts:
            if self.is_full():
                raise TooBusy(f"several data sets wait to be {self._done}", self._seconds / 2)
            self._free -= 1
        try:
            if not self._turn.acquire(timeout=self._seconds):
                raise TooBusy(f"another data set is being {self._done}", self._seconds / 2)
            try:
                yield
            finally:
                self._turn.release()
        finally:
            with self._counts:
                self._free += 1
