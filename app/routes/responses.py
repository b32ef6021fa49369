"""What OpenAPI says about the problems a route may answer with."""

from typing import Any

from app.problems import MEDIA_TYPE
from app.schemas import Problem

_MEANINGS = {
    400: "Malformed request",
    401: "No key, or one that nobody has",
    403: "The key does not allow this",
    404: "No such thing",
    409: "Contradicts what happened before",
    413: "Too large",
    415: "Media type not accepted",
    422: "Not understood, or cannot work",
    429: "Too much work is waiting",
    503: "Cannot be done now",
    504: "Not answered in the time given",
    507: "The store is full",
}


def problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that answers these problems."""
    schema = Problem.model_json_schema()
    # A response's schema stands inside the document, where "#/$defs" would point nowhere.
    schema["properties"]["errors"]["anyOf"][0]["items"] = schema.pop("$defs")["FieldError"]
    content = {MEDIA_TYPE: {"schema": schema}}
    return {code: {"description": _MEANINGS[code], "content": content} for code in codes}
