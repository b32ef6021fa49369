"""How large the body of a request may be."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.settings import Settings

PAGE_OF_PICTURES = "/pages/try/answer"
"""Where a page sends pictures, one at a time."""

PAGE_OF_ARCHIVES = "/pages/ensembles/import"
"""Where a page sends an ensemble that was exported elsewhere."""

PAGE_OF_DATA_SETS = "/pages/data/upload"
"""Where a page sends pictures to learn from."""


def takes_pictures(path: str) -> bool:
    """Say whether a call to this path sends pictures."""
    return path == "/predict" or (path.startswith("/v2/models/") and path.endswith("/infer"))


def _limit_of(method: str, path: str, settings: Settings) -> int:
    if takes_pictures(path):
        return settings.max_request_bytes
    if path == PAGE_OF_PICTURES:
        return settings.max_picture_bytes
    if (method, path) in {("POST", "/ensembles"), ("POST", PAGE_OF_ARCHIVES)}:
        return settings.max_ensemble_bytes
    if (method, path) == ("POST", PAGE_OF_DATA_SETS) or (
        method == "PUT" and path.startswith("/datasets/")
    ):
        return settings.max_dataset_bytes
    return settings.max_recipe_bytes


class LimitBodies:
    """ASGI middleware that refuses a body as soon as it is known to be too large.

    The framework's own answers in plain text where the size was declared, and has one limit for
    all paths; this one raises where the body is read, so the problem is told like any other.

    Args:
        app: what it wraps.
        settings: the limits.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count its bytes as they are read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        max_bytes = _limit_of(scope["method"], scope["path"], self._settings)
        # The server has checked that it is a number, and that no more bytes come than declared.
        declared = int(Headers(scope=scope).get("content-length", 0))
        read = 0

        async def count() -> Message:
            nonlocal read
            message: Message = {} if declared > max_bytes else await receive()
            read += len(message.get("body", b""))
            if max(declared, read) > max_bytes:
                raise HTTPException(413, f"the body has more than {max_bytes} bytes")
            return message

        await self._app(scope, count, send)
