"""The half of a job that may be lost: who works on which piece of it, and how far each piece is.

::

    redis   stillhouse:job:<id>                     hash: started_at, operations, shared, plan
            stillhouse:job:<id>:parts               hash: how far each piece is, by its name
            stillhouse:job:<id>:attempts            hash: how often each piece was begun
            stillhouse:job:<id>:part:<name>:lease   the worker that has a piece; expires
            stillhouse:shared:<digest>:lease        the same, of a piece that jobs share
            stillhouse:job:<id>:workers             set: workers that began and did not end in order
            stillhouse:job:<id>:worker:<worker>     such a worker lives, and how fast it is; expires
            stillhouse:job:<id>:events              stream for GET /jobs/<id>/events

A piece is a ``training.progress.Part``, here called ``member-3``. A worker writes only pieces that
its own training told it of, so workers side by side never overwrite each other; what is not
theirs alone is counted and not written. A worker in the set whose own key has expired has died.
"""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from redis import Redis
from redis.lock import Lock

from app.live import News
from app.record import ENSEMBLE, Glance, piece_name
from app.schemas import NetworkProgress
from training.progress import Part

PREFIX = "stillhouse:job:"
SHARED = "stillhouse:shared:"
EVENTS_KEPT = 20_000
EXPIRE_SECONDS = 30 * 24 * 3600
"""Of everything that nobody renews or deletes; longer than any job."""


class Workers(NamedTuple):
    """Who works on a job.

    Attributes:
        rates: by the id of each that lives, its operations per second.
        died: ids of the others.
    """

    rates: dict[str, float]
    died: frozenset[str]


class Pieces:
    """The pieces and workers of all unfinished jobs.

    Args:
        redis: must decode responses.
        lease_seconds: how long a worker counts as living without a sign of it.
    """

    def __init__(self, redis: Redis, lease_seconds: float) -> None:
        self._redis = redis
        self.lease_seconds = lease_seconds

    def claim(self, id_: str, part: Part, worker: str) -> Lock | None:
        """Take a piece for a worker and return the lease on it; none if it is in other hands."""
        name = _lease(id_, piece_name(part), part.shared)
        # thread_local=False: taken by the thread that trains, renewed by another.
        lease = Lock(self._redis, name, timeout=self.lease_seconds, thread_local=False)
        return lease if lease.acquire(blocking=False, token=worker) else None

    def stay(self, id_: str, worker: str, rate: float = 0.0) -> None:
        """Say that a worker is at work on a job, now and for as long as a lease lasts."""
        with self._redis.pipeline() as pipe:
            pipe.sadd(f"{PREFIX}{id_}:workers", worker)
            pipe.expire(f"{PREFIX}{id_}:workers", EXPIRE_SECONDS)
            pipe.set(
                f"{PREFIX}{id_}:worker:{worker}",
                json.dumps({"rate": rate}),
                px=int(self.lease_seconds * 1000),
            )
            pipe.execute()

    def leave(self, id_: str, worker: str, *, in_order: bool) -> None:
        """Say that a worker has left a job; one that did not do so in order counts as dead."""
        with self._redis.pipeline() as pipe:
            pipe.delete(f"{PREFIX}{id_}:worker:{worker}")
            if in_order:
                pipe.srem(f"{PREFIX}{id_}:workers", worker)
            pipe.execute()

    def workers(self, id_: str) -> Workers:
        """Return who works on a job, and who died at it since an epoch was last finished."""
        key = f"{PREFIX}{id_}:workers"
        begun = sorted(cast("set[str]", self._redis.smembers(key)))
        if not begun:
            return Workers({}, frozenset())
        with self._redis.pipeline() as pipe:
            pipe.mget([f"{PREFIX}{id_}:worker:{worker}" for worker in begun])
            pipe.smembers(key)
            found, still = pipe.execute()
        signs = dict(zip(begun, cast("list[str | None]", found), strict=True))
        rates = {worker: float(json.loads(sign)["rate"]) for worker, sign in signs.items() if sign}
        # One that ended in order between the two looks is no longer in the set.
        return Workers(rates, frozenset(still & signs.keys() - rates.keys()))

    def look(self, id_: str) -> Glance:
        """Return how an unfinished job is now."""
        rates, died = self.workers(id_)
        with self._redis.pipeline() as pipe:
            for key in ("", ":parts", ":attempts"):
                pipe.hgetall(f"{PREFIX}{id_}{key}")
            facts, parts, attempts = cast("list[dict[str, str]]", pipe.execute())
        operations = json.loads(facts.get("operations", "{}"))
        pieces = {name: NetworkProgress.model_validate_json(piece) for name, piece in parts.items()}
        for name, piece in pieces.items():
            piece.attempts = int(attempts.get(name, 0))
        return Glance(
            started_at=facts.get("started_at"),
            operations=operations,
            plan=json.loads(facts["plan"]) if "plan" in facts else None,
            pieces=pieces,
            holders=self._holders(id_, operations, json.loads(facts.get("shared", "{}"))),
            rates=rates,
            died=died,
        )

    def start(self, id_: str, now: str) -> bool:
        """Note when a job was first worked on; say whether that is now."""
        return bool(self._redis.hsetnx(f"{PREFIX}{id_}", "started_at", now))

    def write(self, id_: str, news: News) -> None:
        """Write down what a worker was told, and publish the epochs that it finished."""
        if not news:
            return
        key = f"{PREFIX}{id_}"
        facts: dict[str, str] = {}
        if news.operations:
            named = {piece_name(part): value for part, value in news.operations.items()}
            facts["operations"] = json.dumps(named)
            shared = {piece_name(part): part.shared for part in news.operations if part.shared}
            facts["shared"] = json.dumps(shared)
        if news.plan:
            facts["plan"] = json.dumps(news.plan)
        parts = {
            piece_name(part): piece.model_dump_json(exclude={"attempts"})
            for part, piece in news.pieces.items()
        }
        # Whoever died before an epoch was finished may have been killed by anything.
        forgiven = self.workers(id_).died if news.epochs else frozenset()
        with self._redis.pipeline() as pipe:
            for name, mapping in (("", facts), (":parts", parts)):
                if mapping:
                    pipe.hset(f"{key}{name}", mapping=cast("Mapping[Any, Any]", mapping))
            for part in news.begun:
                pipe.hincrby(f"{key}:attempts", piece_name(part), 1)
            for epoch in news.epochs:
                add_event(pipe, id_, "epoch", json.dumps(epoch))
            if forgiven:
                pipe.srem(f"{key}:workers", *forgiven)
            for name in ("", ":parts", ":attempts"):
                pipe.expire(f"{key}{name}", EXPIRE_SECONDS)
            pipe.execute()

    def forget(self, id_: str) -> None:
        """Delete all that is known of a job's pieces and workers; its events stay for a while."""
        names = ("", ":parts", ":attempts", ":workers")
        self._redis.delete(*(f"{PREFIX}{id_}{name}" for name in names))

    def _holders(
        self, id_: str, operations: Mapping[str, float], shared: Mapping[str, str]
    ) -> dict[str, str]:
        if not operations:
            return {}
        names = [*operations, piece_name(ENSEMBLE)]
        keys = [_lease(id_, name, shared.get(name, "")) for name in names]
        workers = cast("list[str | None]", self._redis.mget(keys))
        return {name: worker for name, worker in zip(names, workers, strict=True) if worker}


def _lease(id_: str, name: str, shared: str) -> str:
    return f"{SHARED}{shared}:lease" if shared else f"{PREFIX}{id_}:part:{name}:lease"


def add_event(redis: Any, id_: str, kind: str, data: str) -> None:
    """Publish something about a job to those who follow it."""
    redis.xadd(
        f"{PREFIX}{id_}:events",
        {"event": kind, "data": data},
        maxlen=EVENTS_KEPT,
        approximate=True,
    )
