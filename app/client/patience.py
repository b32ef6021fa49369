"""When to repeat a call that got no answer, or the answer to come back later."""

import random
import time
from collections.abc import Callable

from app.client.errors import ClientError

FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 8.0

OnWait = Callable[[ClientError, float], None]
"""Told why a call is about to be repeated, and in how many seconds."""


class Patience:
    """How long one call is worth repeating.

    Pauses double from a quarter of a second to eight, each shortened by chance so that clients who
    were refused together do not come back together (AWS Architecture Blog 2015, "Exponential
    Backoff and Jitter"); ``Retry-After`` counts where the service sends it.

    Args:
        seconds: after so many, the last error is raised; 0 repeats nothing.
        on_wait: told before each pause.
    """

    def __init__(self, seconds: float, on_wait: OnWait | None = None) -> None:
        self._seconds = seconds
        self._on_wait = on_wait
        self.reset()

    def reset(self) -> None:
        """Begin anew: what was asked for has arrived in part."""
        self._until = time.monotonic() + self._seconds
        self._pause = FIRST_PAUSE_SECONDS

    def pause_after(self, error: ClientError) -> float:
        """Return how many seconds to wait before the next try.

        Raises:
            ClientError: the one given, if there is no use or no time for another.
        """
        if not error.worth_repeating:
            raise error
        jitter = random.uniform(0.5, 1.0)  # noqa: S311  # spreads clients, keeps no secret
        if error.retry_after_seconds is None:
            pause = self._pause * jitter
        else:
            pause = error.retry_after_seconds + FIRST_PAUSE_SECONDS * jitter
        if time.monotonic() + pause > self._until:
            raise error
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)
        if self._on_wait is not None:
            self._on_wait(error, pause)
        return pause
