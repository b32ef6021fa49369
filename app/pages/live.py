"""Pieces of a page that are sent anew whenever something has changed, as server-sent events.

Each event holds whole pieces, not what is new about them. So a browser that has lost its connection
comes back with nothing to catch up on: the first event brings everything there is to see.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import TypeVar

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from app.client import ClientError
from app.followers import Followers

T = TypeVar("T")

_log = logging.getLogger(__name__)

PAUSE_SECONDS = 0.5
"""Between two events, so that what changes often costs a browser no more than it can show."""

SILENCE_SECONDS = 15.0
"""After which something is sent that means nothing, or a proxy would cut the connection."""

RETRY_MS = 2000


def live(
    watchers: Followers,
    changes: AsyncGenerator[T, None],
    show: Callable[[T], str],
    *,
    pause_seconds: float = PAUSE_SECONDS,
) -> EventSourceResponse:
    """Answer with pieces of a page for as long as there are changes.

    Args:
        watchers: pages that are kept up to date now.
        changes: each as everything that ``show`` needs, the first one at once. Of several that
            come within a pause only the newest is shown.
        show: returns HTML of one or more elements with an ``id``, which take the place of those in
            the page.
        pause_seconds: between two events.

    Raises:
        TooBusy: of as many pages as may be.
    """
    watchers.check()
    return EventSourceResponse(
        _counted(watchers, events(changes, show, pause_seconds=pause_seconds)),
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _counted(
    watchers: Followers, events: AsyncGenerator[bytes, None]
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        if watchers.are_most:  # others were quicker since it was checked
            yield format_sse_event(data_str="too many pages are open", event="problem")
            return
        with watchers.another():
            async for event in events:
                yield event


async def events(
    changes: AsyncGenerator[T, None], show: Callable[[T], str], *, pause_seconds: float
) -> AsyncGenerator[bytes, None]:
    """Yield the events of ``live``, the last of which is ``end`` or ``problem``."""
    newest: list[T] = []
    news = asyncio.Event()

    async def read() -> None:
        try:
            async with aclosing(changes):
                async for change in changes:
                    newest[:] = [change]
                    news.set()
        finally:
            news.set()

    reader = asyncio.create_task(read())
    try:
        yield format_sse_event(data_str=None, retry=RETRY_MS)
        while not reader.done() or newest:
            try:
                await asyncio.wait_for(news.wait(), SILENCE_SECONDS)
            except TimeoutError:
                yield KEEPALIVE_COMMENT
                continue
            news.clear()
            if newest:
                yield format_sse_event(data_str=show(newest.pop()))
                await asyncio.sleep(pause_seconds)
            if reader.done():
                news.set()  # or whoever came last would be waited for
        reader.result()
        yield format_sse_event(data_str="", event="end")
    except ClientError as error:
        # The status is sent already: the page says so, and asks again in a while.
        _log.warning("a page can no longer be kept up to date: %s", error)
        yield format_sse_event(data_str=str(error), event="problem")
    finally:
        reader.cancel()
        with suppress(asyncio.CancelledError, ClientError):
            await reader
