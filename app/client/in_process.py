"""Calls of an ASGI application in this very process, as they happen.

``httpx.ASGITransport`` gives an answer only when all of it is there, and a stream of events is not
before its job has ended. This gives each piece of a body when the application sends it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, cast

import httpx

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


class InProcess(httpx.AsyncBaseTransport):
    """Hands requests to an ASGI application, for ``AsyncStillhouse(transport=InProcess(app))``.

    Args:
        application: whose calls are made; asyncio runs it, each request in a task of its own.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return an answer as soon as its status and headers are there."""
        exchange = _Exchange(request)
        exchange.task = asyncio.create_task(exchange.run(self._application))
        try:
            start = await exchange.next()
        except BaseException:  # whoever asked was cancelled, or the application failed
            await exchange.aclose()
            raise
        return httpx.Response(start["status"], headers=start["headers"], stream=exchange)


class _Exchange(httpx.AsyncByteStream):
    """One request and what the application sends; as a stream, the body of the answer."""

    task: asyncio.Task[None]

    def __init__(self, request: httpx.Request) -> None:
        self._request = request
        # Whatever an asynchronous client sends can be read so, as httpx checks itself.
        self._body = aiter(cast("httpx.AsyncByteStream", request.stream))
        self._sent_whole = False
        # An application that sends faster than is read waits.
        self._sent: asyncio.Queue[Message | None] = asyncio.Queue(maxsize=16)
        self._whole = self._closed = False

    async def run(self, application: Application) -> None:
        url = self._request.url
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": self._request.method,
            "scheme": url.scheme,
            "path": url.path,
            "raw_path": url.raw_path.partition(b"?")[0],
            "query_string": url.query,
            "root_path": "",
            "headers": [(name.lower(), value) for name, value in self._request.headers.raw],
            "server": (url.host, url.port),
            "client": ("127.0.0.1", 0),
        }
        try:
            await application(scope, self._receive, self._sent.put)
        finally:  # an error of it is logged by asyncio, as a server would
            if not self._closed:
                await self._sent.put(None)

    async def _receive(self) -> Message:
        if self._sent_whole:  # the next news would be that nobody listens any more
            await asyncio.Event().wait()
        try:
            piece = await anext(self._body, None)
        except httpx.TransportError:  # whoever sends it is gone
            self._sent_whole = True
            return {"type": "http.disconnect"}
        self._sent_whole = piece is None
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def next(self) -> Message:
        """Return what the application sends next.

        Raises:
            httpx.RemoteProtocolError: it has ended and has not sent all of its answer.
        """
        message = await self._sent.get()
        if message is None:
            raise httpx.RemoteProtocolError("the application ended in the middle of its answer")
        return message

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while not self._whole:
            message = await self.next()
            self._whole = not message.get("more_body", False)
            yield message.get("body", b"")

    async def aclose(self) -> None:
        """End the application's work on it, unless its answer has been read to the end."""
        self._closed = True
        if not self._whole:
            self.task.cancel()
            await asyncio.wait({self.task})
