"""The client whose calls return when they are answered."""

import time
from collections.abc import Iterator
from typing import Any, Self, TypeVar

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


class Stillhouse(Calls):
    """A service, over HTTP. May be used by several threads; close it, or use it in a ``with``.

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
        transport: httpx.BaseTransport | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self._own = http is None
        self._http = http or httpx.Client(base_url=url_of(url), transport=transport)
        self._headers = headers_of(key)
        self._retry_seconds = retry_seconds
        self._on_wait = on_wait

    @property
    def url(self) -> str:
        """Where the service is."""
        return str(self._http.base_url).rstrip("/")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        if self._own:
            self._http.close()

    def ask(self, request: Request[T]) -> T:
        """Send a request, again and again while that is of use, and return what it is answered.

        Raises:
            ClientError: as ``app.client.errors`` draws them.
        """
        patience = Patience(self._retry_seconds if request.repeat else 0, self._on_wait)
        while True:
            try:
                return request.read(self._send(request))
            except ClientError as error:
                time.sleep(patience.pause_after(error))

    def _send(self, request: Request[Any]) -> bytes:
        arguments = arguments_of(request, self._headers)
        if request.upload is None:
            return self._exchange(request, arguments)
        with file_to_send(request.upload) as (path, headers), path.open("rb") as file:
            arguments["headers"] |= headers
            return self._exchange(request, arguments | {"content": file})

    def _exchange(self, request: Request[Any], arguments: dict[str, Any]) -> bytes:
        with known_errors(self.url), self._http.stream(**arguments) as response:
            if not response.is_success or request.download is None:
                response.read()
                check(response)
                return response.content
            with file_to_write(request.download) as path, path.open("wb") as file:
                for chunk in response.iter_bytes():
                    file.write(chunk)
            return b""

    def jobs(self, status: JobStatus | None = None) -> Iterator[Job]:
        """Yield all jobs, newest first, asking for further pages as they are needed."""
        page = self.job_page(status)
        yield from page.jobs
        while page.next_cursor is not None:
            page = self.job_page(status, cursor=page.next_cursor)
            yield from page.jobs

    def follow(
        self,
        id: str,  # noqa: A002  # the contract's word
        *,
        last_event_id: str | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> Iterator[Progress]:
        """Yield what happens to a job from its beginning until it has ended, and then stop.

        A connection that is lost is made again, from the last event on, so that nothing is missed
        or told twice; the service may even be started again meanwhile.

        Args:
            id: of the job.
            last_event_id: leave out what came up to this event.
            patience_seconds: how long it may be away at a time.

        Raises:
            Missing: there is no such job.
            Unreachable: the service is away for too long.
        """
        following = Following(id, last_event_id)
        patience = Patience(patience_seconds, self._on_wait)
        while not following.ended:
            try:
                for progress in self._listen(following):
                    if following.advanced:  # else it will never end
                        patience.reset()
                    yield progress
                if not following.ended:
                    raise Unreachable(f"{self.url} has closed the connection")
            except ClientError as error:
                time.sleep(patience.pause_after(error))

    def _listen(self, following: Following) -> Iterator[Progress]:
        arguments = arguments_of(following.request, self._headers)
        with known_errors(self.url), self._http.stream(**arguments) as response:
            if not response.is_success:
                response.read()
                check(response)
            for event in EventSource(response).iter_sse():
                if (progress := following.read(event)) is not None:
                    yield progress
                if following.ended:
                    return

    def wait(self, id: str, *, patience_seconds: float = PATIENCE_SECONDS) -> Job:  # noqa: A002
        """Return a job once it has ended, however; raises what ``follow`` does."""
        for progress in self.follow(id, patience_seconds=patience_seconds):
            if isinstance(progress, StatusChanged):
                job = progress.job
        return job
