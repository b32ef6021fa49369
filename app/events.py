"""A job's events as they happen, from the Redis stream its worker writes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

from fastapi.sse import ServerSentEvent
from redis.asyncio import Redis

from app.jobs import PREFIX
from app.schemas import Job
from app.service import Service

POLL_SECONDS = 2.0
"""How long one look at the stream waits; in between, a job that ended in silence is noticed."""


async def follow_job(
    id_: str, service: Service, last_event_id: str | None
) -> AsyncIterator[ServerSentEvent]:
    """Yield a job's events from the beginning, or from after the one a client saw last.

    The last event is always a ``status`` of a finished job, also when the stream itself has
    expired by then.

    Raises:
        JobNotFound: there is no such job.
    """
    job = await asyncio.to_thread(service.jobs.get, id_)
    at = last_event_id or "0-0"
    url = cast("str", service.settings.redis_url)
    async with Redis.from_url(url, decode_responses=True, socket_timeout=5 * POLL_SECONDS) as redis:
        while True:
            block = None if job.finished else int(POLL_SECONDS * 1000)
            found: Any = await redis.xread({f"{PREFIX}{id_}:events": at}, count=100, block=block)
            events = found[0][1] if isinstance(found, list) and found else _flat(found)
            for at, fields in events:  # where to read on
                yield ServerSentEvent(raw_data=fields["data"], event=fields["event"], id=at)
                if fields["event"] == "status" and Job.model_validate_json(fields["data"]).finished:
                    return
            if job.finished and not events:
                yield ServerSentEvent(raw_data=job.model_dump_json(), event="status")
                return
            job = await asyncio.to_thread(service.jobs.get, id_)


def _flat(found: Any) -> list[Any]:
    # RESP3 answers a mapping of streams, each with a list of lists of entries.
    return [entry for entries in (found or {}).values() for entry in entries[0]]
