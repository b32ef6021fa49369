"""An id for each request: in its answer, in what is logged for it, and in the job it asks for."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from starlette.types import Scope

from app.logs import request_id

HEADER = "X-Request-ID"
RAW_HEADER = HEADER.lower().encode()

_SAFE = re.compile(rb"[A-Za-z0-9._-]{1,64}")
"""A client's own id. It is printed and told again: short, and nothing that could be misread."""


def fresh_id() -> str:
    """Return an id that no other request has."""
    return os.urandom(16).hex()


def id_from(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the client's own id from a request's headers, or a fresh one."""
    for name, value in headers:
        if name == RAW_HEADER and _SAFE.fullmatch(value):
            return value.decode()
    return fresh_id()


def name_request(scope: Scope) -> bytes:
    """Return a request's id, which from now on its scope and every line of its context have.

    It is the client's own, or a fresh one where there is none or none that is safe.
    """
    id_ = id_from(scope["headers"])
    scope.setdefault("state", {})["request_id"] = id_
    # Never taken back: each request has a task, and so a context, of its own, and what fails is
    # logged by the server underneath, at the very end.
    request_id.set(id_)
    return id_.encode()


def id_of(scope: Mapping[str, Any]) -> str | None:
    """Return the id that a request was given, if it was."""
    id_: str | None = scope.get("state", {}).get("request_id")
    return id_
