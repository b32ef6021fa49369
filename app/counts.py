"""What workers count and the API tells Prometheus: they have no port of their own."""

import logging
from collections.abc import Iterator, Mapping
from typing import cast

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

_log = logging.getLogger(__name__)

_KEY = "stillhouse:counts"

COUNTED: Mapping[str, str] = {
    "leases_lost": "Times that a worker gave up work, since it may have been in other hands",
    "work_resumed": "Networks whose training went on from a checkpoint",
    "duplicates_dropped": "Messages of the queue that brought a worker nothing to do",
}


class Counts:
    """Sums over all workers; they begin anew when Redis forgets them, as counters may.

    Args:
        redis: must decode responses.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def add(self, name: str, count: int = 1) -> None:
        """Count something; what cannot be counted now is lost, and nothing else.

        Args:
            name: one of ``COUNTED``.
            count: how often it happened.
        """
        try:
            self._redis.hincrby(_KEY, name, count)
        except RedisError as error:
            _log.warning("%s not counted: %s", name, error)

    def read(self) -> dict[str, int]:
        """Return all sums."""
        found = cast("dict[str, str]", self._redis.hgetall(_KEY))
        return {name: int(found.get(name, 0)) for name in COUNTED}


class CountsCollector(Collector):
    """Reads the sums whenever Prometheus asks; while Redis is away there are none.

    Args:
        counts: the sums.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def describe(self) -> Iterator[CounterMetricFamily]:
        """Name the metrics without asking Redis."""
        for name, explained in COUNTED.items():
            yield CounterMetricFamily(f"stillhouse_{name}", explained)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Return the sums as metrics."""
        try:
            sums = self._counts.read()
        except RedisError as error:
            _log.warning("no telling what workers have counted: %s", error)
            return
        for name, explained in COUNTED.items():
            yield CounterMetricFamily(f"stillhouse_{name}", explained, value=sums[name])
