"""The states of a job: which may follow which, and who saw it change, when and why."""

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

from redis import Redis

from app.schemas import JobStatus, StateChange

_log = logging.getLogger(__name__)

FOLLOWS: Mapping[JobStatus, frozenset[JobStatus]] = {
    "queued": frozenset({"running", "failed", "cancelled"}),
    "running": frozenset({"queued", "succeeded", "failed", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""For each state, those that may come next. A job begins queued, and what ended never changes."""

PREDECESSORS: Mapping[JobStatus, frozenset[JobStatus]] = {
    status: frozenset(before for before, after in FOLLOWS.items() if status in after)
    for status in FOLLOWS
}

# Looks and writes at once, since two workers may note the same change. KEYS: the list of changes.
# ARGV: the change, seconds until all is forgotten, the states that it may follow.
_NOTE = """
local last = redis.call('LINDEX', KEYS[1], -1)
local status = last and cjson.decode(last)['status'] or 'queued'
for i = 3, #ARGV do
  if ARGV[i] == status then
    redis.call('RPUSH', KEYS[1], ARGV[1])
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    return 1
  end
end
return 0
"""


class States:
    """The changes of jobs between queued and running; the last one stands in a job's outcome.

    Args:
        redis: must decode responses.
        prefix: of a job's keys, before its id.
        expire_seconds: after which a job's changes are forgotten, unless another comes.
        who: notes changes here.
    """

    def __init__(self, redis: Redis, prefix: str, expire_seconds: int, who: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._expire_seconds = expire_seconds
        self._note = redis.register_script(_NOTE)
        self.who = who

    def change(self, status: JobStatus, why: str | None = None) -> StateChange:
        """Return a change that is seen here and now."""
        return StateChange(status=status, at=datetime.now(UTC), by=self.who, why=why)

    def note(self, id_: str, status: JobStatus, why: str | None = None) -> bool:
        """Note that a job's state has changed, if it can have; say whether this call did."""
        told = self.change(status, why).model_dump_json()
        arguments: list[str | int] = [told, self._expire_seconds, *sorted(PREDECESSORS[status])]
        noted = bool(self._note(keys=[self._key(id_)], args=arguments))
        if noted:
            about = {"job": id_, "status": status}
            _log.info("job %s is %s%s", id_, status, f": {why}" if why else "", extra=about)
        return noted

    def changes(self, id_: str) -> list[StateChange]:
        """Return what was noted of a job, the first change first."""
        noted = cast("Sequence[str]", self._redis.lrange(self._key(id_), 0, -1))
        return [StateChange.model_validate(json.loads(change)) for change in noted]

    def forget(self, id_: str) -> None:
        """Delete what was noted of a job."""
        self._redis.delete(self._key(id_))

    def _key(self, id_: str) -> str:
        return f"{self._prefix}{id_}:states"
