"""JSON as a body: read so that whatever is wrong with it can be told, and nothing is guessed."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

MOST_DIGITS = 300
"""Of a whole number. What has more is beyond every bound, and takes long to turn into one."""


class JsonRoute(APIRoute):
    """A route whose JSON body is refused in full words.

    The framework calls a number of thousands of digits or deep nesting a body that cannot be
    parsed, names a place in the text as if it were a field, and takes the last of two values.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request."""
        answer = super().get_route_handler()
        if self.body_field is None:
            return answer

        async def read_and_answer(request: Request) -> Response:
            read = _JsonRequest(request.scope, request.receive)
            if _is_json(request.headers.get("content-type", "")):
                await read.json()  # here, since the framework takes for malformed what this raises
            return await answer(read)

        return read_and_answer


class _JsonRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            body = await self.body()
            self._json = read_json(body) if body else None
        return self._json


def read_json(body: bytes) -> Any:
    """Return what a JSON text says.

    Raises:
        RequestValidationError: it is none, names a field twice, or is nested too deeply.
    """
    try:
        return json.loads(body, object_pairs_hook=_only_once, parse_int=_to_number)
    except json.JSONDecodeError as error:
        raise _refusal(f"is no JSON: {error.msg} at character {error.pos}") from error
    except UnicodeDecodeError as error:
        raise _refusal("is no JSON: it is not in UTF-8") from error
    except RecursionError as error:
        raise _refusal("is nested too deeply") from error


def _only_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _refusal("is given twice", name)
        found[name] = value
    return found


def _to_number(digits: str) -> int | float:
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)  # an infinite one


def _refusal(reason: str, *field: str) -> RequestValidationError:
    return RequestValidationError([{"loc": ("body", *field), "msg": reason}])


def _is_json(content_type: str) -> bool:
    kind, _, subtype = content_type.split(";", maxsplit=1)[0].strip().lower().partition("/")
    return kind == "application" and (subtype == "json" or subtype.endswith("+json"))
