"""Who is let in: a key for every call that asks for one, looked at before any body is read."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Asked

from app.keys import Key, Keyring, Scope
from app.problems import KEY_NEEDED, SCOPE_NEEDED, TOO_MANY_REQUESTS, Answer, respond
from app.rates import Bucket
from app.scopes import need_of
from app.telemetry import Telemetry

_log = logging.getLogger(__name__)

_CHALLENGE = 'Bearer realm="stillhouse"'


@dataclass(frozen=True)
class Refusal:
    """Why somebody is not let in, and what is said about it."""

    answer: Answer
    detail: str
    headers: Mapping[str, str]


class CheckKeys:
    """ASGI middleware that lets requests in by their keys.

    It stands outside of the shortcut, which goes around the framework's dependencies, and looks at
    headers only: who is not let in cannot make the service read a body.

    Args:
        app: what it wraps.
        keyring: the keys that are known.
        telemetry: where it counts.
        max_per_second: requests with one key; none for no limit.
    """

    def __init__(
        self, app: ASGIApp, keyring: Keyring, telemetry: Telemetry, max_per_second: float | None
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._rejected = telemetry.rejected
        names = [key.name for key in keyring.keys]
        self._counters = {name: telemetry.key_requests.labels(name) for name in names}
        self._buckets: dict[str, Bucket] = {}
        if max_per_second is not None:
            now = time.monotonic()
            self._buckets = {name: Bucket(max_per_second, now) for name in names}

    async def __call__(self, scope: Asked, receive: Receive, send: Send) -> None:
        """Pass a request on if its key allows it, else answer why not."""
        if scope["type"] == "websocket":  # nothing here speaks it, nor will it by accident
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        self._rejected.labels(refusal.answer.type).inc()
        response = respond(Request(scope), refusal.answer, refusal.detail, headers=refusal.headers)
        await response(scope, receive, send)

    def _refusal(self, scope: Asked) -> Refusal | None:
        need = need_of(scope["method"], scope["path"])
        if need == "nothing":
            return None
        presented = _presented(scope["headers"])
        if presented is None:
            detail = "send one: `Authorization: Bearer <key>`"
            return Refusal(KEY_NEEDED, detail, {"WWW-Authenticate": _CHALLENGE})
        key = self._keyring.find(presented)
        if key is None:
            challenge = f'{_CHALLENGE}, error="invalid_token"'
            return Refusal(KEY_NEEDED, "nobody has this key", {"WWW-Authenticate": challenge})
        self._counters[key.name].inc()
        return self._too_often(key) or _beyond(key, need)

    def _too_often(self, key: Key) -> Refusal | None:
        bucket = self._buckets.get(key.name)
        wait_seconds = bucket.take(time.monotonic()) if bucket else 0.0
        if not wait_seconds:
            return None
        seconds = str(math.ceil(wait_seconds))
        detail = f"the key {key.name!r} may be used again in {seconds} s"
        return Refusal(TOO_MANY_REQUESTS, detail, {"Retry-After": seconds})


def _beyond(key: Key, need: Scope | Literal["any key"]) -> Refusal | None:
    if need == "any key" or key.allows(need):
        return None
    _log.warning("the key %r was used for what needs the scope %r", key.name, need)
    detail = f"this needs the scope {need!r}, which the key {key.name!r} does not have"
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{need}"'
    return Refusal(SCOPE_NEEDED, detail, {"WWW-Authenticate": challenge})


def _presented(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    other = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() == b"bearer":
                return key.strip()
        elif name == b"x-api-key":
            other = value.strip()
    return other
