"""Predictions are refused before they are requests, while as many pictures wait as may.

An application refuses too, but by then a request has a scope, a task, and has gone through all
middleware. Where several times more come than can be answered, that is most of what the cores do,
and those who are accepted wait for it.
"""

import time
from collections.abc import Callable, Iterable
from functools import lru_cache

from starlette.requests import Request
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.headers import headers_for
from app.problems import ANSWERS, respond, retry_after
from app.request_ids import RAW_HEADER, id_from
from app.telemetry import Telemetry
from models.errors import TooBusy

_PATH = "/predict"
_ANSWER = ANSWERS[TooBusy]

Headers = Iterable[tuple[bytes, bytes]]


class EarlyRefusals:
    """What a request for a prediction is answered while the queue is full.

    Args:
        full: says why no picture more may wait, or nothing.
        telemetry: counts what is refused as the application would.
    """

    def __init__(self, full: Callable[[], TooBusy | None], telemetry: Telemetry) -> None:
        self._full = full
        self._rejected = telemetry.rejected.labels(_ANSWER.type)
        self._requests = telemetry.requests.labels("POST", _PATH, _ANSWER.status)
        self._seconds = telemetry.request_seconds.labels("POST", _PATH)

    def refuse(
        self, method: bytes, url: bytes, headers: Headers, defaults: Headers
    ) -> bytes | None:
        """Return a whole answer to a request of which the head has come; none if it may go on.

        Args:
            method: of the request.
            url: as it was asked for.
            headers: of the request.
            defaults: headers that every answer of the server has.
        """
        if method != b"POST" or url.partition(b"?")[0] != _PATH.encode():
            return None
        started = time.perf_counter()
        error = self._full()
        if error is None:
            return None
        head, body = _answer(str(error), retry_after(error))
        self._rejected.inc()
        self._requests.inc()
        self._seconds.observe(time.perf_counter() - started)
        own = (*defaults, (RAW_HEADER, id_from(headers).encode()))
        return b"".join([head, *(b"%s: %s\r\n" % header for header in own), b"\r\n", body])


@lru_cache(64)  # of a full queue little more changes than the seconds until it is done
def _answer(reason: str, more: str) -> tuple[bytes, bytes]:
    """Return an answer's head but for the request's id, and its body."""
    request = Request({"type": "http", "path": _PATH})
    headers = {**headers_for(_PATH), "Retry-After": more}
    response = respond(request, _ANSWER, reason, headers=headers)
    lines = [b"%s: %s\r\n" % header for header in response.raw_headers]
    return b"".join([STATUS_LINE[_ANSWER.status], *lines]), bytes(response.body)
