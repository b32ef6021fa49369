"""The client whose calls are awaited, the same ones as of the other."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import Any, Self, TypeVar

import anyio
import anyio.to_thread
import httpx
from httpx_sse import EventSource

from app.client.calls import Calls
from app.client.connection import (
    RETRY_SECONDS,
    arguments_of,
    check,
    file_to_send,
    file_to_write,
    headers_of,
    known_errors,
    url_of,
)
from app.client.errors import ClientError, Unreachable
from app.client.following import PATIENCE_SECONDS, Following, Progress, StatusChanged
from app.client.patience import OnWait, Patience
from app.client.requests import Request
from app.schemas import Job, JobStatus

T = TypeVar("T")

CHUNK_BYTES = 2**18


class AsyncStillhouse(Calls):
    """A service, over HTTP, for asyncio and trio. Close it, or use it in an ``async with``.

    Args:
        url: its address; ``STILLHOUSE_URL`` or ``http://127.0.0.1:8000`` unless told.
        key: one of its keys, if it has some; ``STILLHOUSE_API_KEY`` unless told, none if empty.
        retry_seconds: how long a call is repeated while nothing answers (429, 502, 503, or no
            connection); 0 for never.
        on_wait: told why a call is about to be repeated, and in how many seconds.
        transport: how httpx reaches it, instead of over the network.
        http: an httpx client to use instead of an own; ``url`` and ``transport`` are its matter.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retry_seconds: float = RETRY_SECONDS,
        on_wait: OnWait | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._own = http is None
        self._http = http or httpx.AsyncClient(base_url=url_of(url), transport=transport)
        self._headers = headers_of(key)
        self._retry_seconds = retry_seconds
        self._on_wait = on_wait

    @property
    def url(self) -> str:
        """Where the service is."""
        return str(self._http.base_url).rstrip("/")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        if self._own:
            await self._http.aclose()

    async def ask(self, request: Request[T]) -> T:
        """Send a request, again and again while that is of use, and return what it is answered.

        Raises:
            ClientError: as ``app.client.errors`` draws them.
        """
        patience = Patience(self._retry_seconds if request.repeat else 0, self._on_wait)
        while True:
            try:
                return request.read(await self._send(request))
            except ClientError as error:
                await anyio.sleep(patience.pause_after(error))

    async def _send(self, request: Request[Any]) -> bytes:
        arguments = arguments_of(request, self._headers)
        if request.upload is None:
            return await self._exchange(request, arguments)
        with ExitStack() as stack:
            sending = file_to_send(request.upload)  # packs a folder, which may take long
            path, headers = await anyio.to_thread.run_sync(stack.enter_context, sending)
            arguments["headers"] |= headers
            return await self._exchange(request, arguments | {"content": _chunks(path)})

    async def _exchange(self, request: Request[Any], arguments: dict[str, Any]) -> bytes:
        with known_errors(self.url):
            async with self._http.stream(**arguments) as response:
                if not response.is_success or request.download is None:
                    await response.aread()
                    check(response)
                    return response.content
                with file_to_write(request.download) as path:
                    async with await anyio.open_file(path, "wb") as file:
                        async for chunk in response.aiter_bytes():
                            await file.write(chunk)
                return b""

    async def jobs(self, status: JobStatus | None = None) -> AsyncIterator[Job]:
        """As ``Stillhouse.jobs``."""
        page = await self.job_page(status)
        for job in page.jobs:
            yield job
        while page.next_cursor is not None:
            page = await self.job_page(status, cursor=page.next_cursor)
            for job in page.jobs:
                yield job

    async def follow(
        self,
        id: str,  # noqa: A002  # the contract's word
        *,
        last_event_id: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> AsyncGenerator[Progress, None]:
        """As ``Stillhouse.follow``; whoever leaves before its end closes it (``aclosing``)."""
        following = Following(id, last_event_id)
        patience = Patience(patience_seconds, self._on_wait)
        while not following.ended:
            try:
                async with aclosing(self._listen(following)) as heard:
                    async for progress in heard:
                        if following.advanced:  # else it will never end
                            patience.reset()
                        yield progress
                if not following.ended:
                    raise Unreachable(f"{self.url} has closed the connection")
            except ClientError as error:
                await anyio.sleep(patience.pause_after(error))

    async def _listen(self, following: Following) -> AsyncGenerator[Progress, None]:
        arguments = arguments_of(following.request, self._headers)
        with known_errors(self.url):
            async with self._http.stream(**arguments) as response:
                if not response.is_success:
                    await response.aread()
                    check(response)
                async with aclosing(EventSource(response).aiter_sse()) as events:
                    async for event in events:
                        if (progress := following.read(event)) is not None:
                            yield progress
                        if following.ended:
                            return

    async def wait(self, id: str, *, patience_seconds: float = PATIENCE_SECONDS) -> Job:  # noqa: A002
        """As ``Stillhouse.wait``."""
        async for progress in self.follow(id, patience_seconds=patience_seconds):
            if isinstance(progress, StatusChanged):
                job = progress.job
        return job


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(CHUNK_BYTES):
            yield chunk
