"""Work that is given up when the client who asked for it hangs up."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

T = TypeVar("T")

UNWATCHED_SECONDS = 0.02
"""Watching costs as much as decoding a small picture. Who hangs up sooner is noticed then."""


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Return what the work returns; cancel it if the client hangs up first.

    Args:
        request: whose body has been read.
        work: what to do for it.

    Raises:
        ClientDisconnect: the client hung up.
    """
    loop = asyncio.get_running_loop()
    watching: asyncio.Task[None] | None = None
    patience = asyncio.timeout(None)

    def watch() -> None:
        nonlocal watching
        watching = loop.create_task(_gone(request))
        watching.add_done_callback(give_up)

    def give_up(watched: asyncio.Task[None]) -> None:
        if not watched.cancelled() and not over:
            patience.reschedule(loop.time())

    over = False
    begin = loop.call_later(UNWATCHED_SECONDS, watch)
    try:
        async with patience:
            return await work
    except TimeoutError as error:
        if not patience.expired():  # the work's own
            raise
        raise ClientDisconnect from error
    finally:
        over = True
        begin.cancel()
        if watching:
            watching.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
