"""Headers of every answer: what browsers are not to do with it, and the request's id."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.request_ids import HEADER, RAW_HEADER, name_request

PAGES = {"/docs", "/docs/oauth2-redirect", "/redoc"}
"""Pages that come with scripts inside, which nobody but the framework writes."""

OUR_PAGES = "/pages/"
"""Where our own pages are, beside ``/``: neither scripts nor styles stand inside them."""

REQUEST_HEADERS = (
    *("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "Last-Event-ID"),
    *("X-Timeout-Ms", HEADER, "Inference-Header-Content-Length"),
)
ANSWER_HEADERS = (
    *("Location", "Retry-After", "WWW-Authenticate", "Content-Disposition", HEADER),
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
_KINDS = {
    "usual": {**_FOR_ALL, "content-security-policy": _POLICY + _NO_FRAMES},
    "framework's page": {**_FOR_ALL, "content-security-policy": _POLICY_OF_PAGES},
    "our page": {
        **_FOR_ALL,
        "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; "
        f"form-action 'self'; {_NO_FRAMES}",
        # With none a browser does not say where a form was, and who sends one is to be known.
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    },
}
_RAW = {
    kind: [(name.encode(), value.encode()) for name, value in headers.items()]
    for kind, headers in _KINDS.items()
}

_NO_STORE = (b"cache-control", b"no-store")
_SAYS_ITSELF = {b"cache-control", b"etag"}
"""Answers with these say themselves how long they are good for: files, streams of events."""


def headers_for(path: str) -> Mapping[str, str]:
    """Return the headers of an answer that says nothing of how long it is good for."""
    return {**_KINDS[_kind(path)], "cache-control": "no-store"}


def _kind(path: str) -> str:
    if path == "/" or path.startswith(OUR_PAGES):
        return "our page"
    return "framework's page" if path in PAGES else "usual"


class AddHeaders:
    """ASGI middleware that gives each request its id, and adds these headers to every answer.

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
        id_ = name_request(scope)

        async def add(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
                for name, _ in headers:
                    if name in _SAYS_ITSELF:
                        break
                else:
                    headers.append(_NO_STORE)
                headers += _RAW[_kind(scope["path"])]
                headers.append((RAW_HEADER, id_))
                message["headers"] = headers
            await send(message)

        await self._app(scope, receive, add)
