"""How often somebody may ask."""


class Bucket:
    """Tokens that come back at a steady rate; each request takes one.

    Args:
        per_second: how many come back. As many as one second brings may be saved up, at least one.
        now: seconds of a monotonic clock.
    """

    def __init__(self, per_second: float, now: float) -> None:
        self._per_second = per_second
        self._most = max(1.0, per_second)
        self._tokens = self._most
        self._at = now

    def take(self, now: float) -> float:
        """Take a token, and return 0; if there is none, the seconds until there is one."""
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0
