"""What OpenAPI says of keys, where the service asks for them."""

from typing import Any

from fastapi import FastAPI

from app.routes.responses import problems
from app.scopes import need_of

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a key of the service"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def describe_keys(application: FastAPI, *, limited: bool) -> None:
    """Have an application say which calls need a key, with which scope, and how they are refused.

    Args:
        application: whose calls are told.
        limited: whether a key may be used too often.
    """
    describe = application.openapi

    def openapi() -> dict[str, Any]:
        schema = describe()
        schema.setdefault("components", {})["securitySchemes"] = _SCHEMES
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                _describe(method.upper(), path, operation, limited=limited)
        return schema

    application.openapi = openapi  # type: ignore[method-assign]  # as its documentation has it


def _describe(method: str, path: str, operation: dict[str, Any], *, limited: bool) -> None:
    need = need_of(method, path)
    if need == "nothing":
        return
    scopes = [] if need == "any key" else [need]
    operation["security"] = [{scheme: scopes} for scheme in _SCHEMES]
    codes = [401, *[403] * bool(scopes), *[429] * limited]
    for code, response in problems(*codes).items():
        if path.startswith("/v2"):
            told = {"$ref": "#/components/schemas/InferenceError"}
            response["content"] = {"application/json": {"schema": told}}
        operation["responses"].setdefault(str(code), response)
