"""A job's events as they happen, from the Redis stream its worker writes."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
from fastapi.sse import ServerSentEvent
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.pieces import PREFIX
from app.schemas import Job
from app.service import Service

_log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
"""How long one look at the stream waits; in between, a job that ended in silence is noticed."""


async def follow_job(
    job: Job, service: Service, last_event_id: str | None
) -> AsyncIterator[ServerSentEvent]:
    """Yield a job's events from the beginning, or from after the one a client saw last.

    The last event is always a ``status`` of a finished job, also when the stream itself has
    expired by then. While Redis is away there are none.
    """
    at = last_event_id or "0-0"
    stream = f"{PREFIX}{job.id}:events"
    url = cast("SecretStr", service.settings.redis_url).get_secret_value()
    async with _connected(url) as redis:
        while True:
            try:
                block = None if job.finished else int(POLL_SECONDS * 1000)
                found: Any = await redis.xread({stream: at}, count=100, block=block)
                events = found[0][1] if isinstance(found, list) and found else _flat(found)
                for at, fields in events:  # where to read on
                    yield ServerSentEvent(raw_data=fields["data"], event=fields["event"], id=at)
                    if fields["event"] == "status" and _is_last(fields["data"]):
                        return
                if job.finished and not events:
                    yield ServerSentEvent(raw_data=job.model_dump_json(), event="status")
                    return
                job = await asyncio.to_thread(service.jobs.get, job.id)
            except RedisError as error:
                _log.warning("events of job %s wait for Redis: %s", job.id, error)
                await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Redis]:
    redis = Redis.from_url(url, decode_responses=True, socket_timeout=5 * POLL_SECONDS)
    try:
        yield redis
    finally:
        # Whoever hangs up cancels the waiting, and would cancel the closing too.
        with anyio.CancelScope(shield=True):
            await redis.aclose()


def _is_last(status: str) -> bool:
    return Job.model_validate_json(status).finished


def _flat(found: Any) -> list[Any]:
    # RESP3 answers a mapping of streams, each with a list of lists of entries.
    return [entry for entries in (found or {}).values() for entry in entries[0]]
