"""Headers of every answer that tell browsers what not to do with it."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGES = {"/docs", "/docs/oauth2-redirect", "/redoc"}
"""Pages that come with scripts inside, which nobody but the framework writes."""

REQUEST_HEADERS = (
    *("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "Last-Event-ID"),
    *("X-Timeout-Ms", "Inference-Header-Content-Length"),
)
ANSWER_HEADERS = (
    "Location",
    "Retry-After",
    "Content-Disposition",
    "WWW-Authenticate",
    "Inference-Header-Content-Length",
)
"""What pages of other origins may send and read, where settings name such origins."""

_POLICY = "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; "
_NO_FRAMES = "object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
_POLICY_OF_PAGES = f"{_POLICY}script-src 'self' 'unsafe-inline'; worker-src blob:; {_NO_FRAMES}"

_FOR_ALL = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
_USUAL = {**_FOR_ALL, "content-security-policy": _POLICY + _NO_FRAMES}
_OF_PAGES = {**_FOR_ALL, "content-security-policy": _POLICY_OF_PAGES}

_NO_STORE = (b"cache-control", b"no-store")
_SAYS_ITSELF = {b"cache-control", b"etag"}
"""Answers with these say themselves how long they are good for: files, streams of events."""


def headers_for(path: str) -> Mapping[str, str]:
    """Return the headers of an answer that says nothing of how long it is good for."""
    return {**(_OF_PAGES if path in PAGES else _USUAL), "cache-control": "no-store"}


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


_RAW_USUAL, _RAW_OF_PAGES = _raw(_USUAL), _raw(_OF_PAGES)


class AddHeaders:
    """ASGI middleware that adds these headers to every answer.

    Args:
        app: what it wraps.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and the answer with more headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
                for name, _ in headers:
                    if name in _SAYS_ITSELF:
                        break
                else:
                    headers.append(_NO_STORE)
                headers += _RAW_OF_PAGES if scope["path"] in PAGES else _RAW_USUAL
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, add)
