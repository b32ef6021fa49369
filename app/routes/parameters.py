"""What OpenAPI says of parameters that a route reads by itself."""

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel


def parameters_of(model: type[BaseModel], headers: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return a route's ``parameters``, one for each field of a model.

    Args:
        model: of flat fields, none of them required.
        headers: names of those that are headers; the others stand in the query.
    """
    return [
        {
            "name": name,
            "in": "header" if name in headers else "query",
            "required": False,
            "description": schema.pop("description", ""),
            "schema": schema,
        }
        for name, schema in model.model_json_schema()["properties"].items()
    ]
