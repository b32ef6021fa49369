"""Fewer members before refusals: what an overloaded service gives up first."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Degrade:
    """When fewer members answer, so that more pictures are answered in time.

    Attributes:
        delay_seconds: that a picture may wait before members are left out.
        least_members: that answer however long the queue is.
    """

    delay_seconds: float
    least_members: int

    def members(self, asked: int, waited_seconds: float) -> int:
        """Return how many of the members asked for are to answer: the fewer, the longer the wait.

        The cost of a picture is in proportion to its members. So a wait of twice what is wanted
        is answered with half of them.
        """
        if waited_seconds <= self.delay_seconds:
            return asked
        share = self.delay_seconds / waited_seconds
        return max(min(self.least_members, asked), math.ceil(asked * share))
