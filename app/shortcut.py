"""A way past the framework's stack for the one call whose every microsecond counts."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Endpoint = Callable[[Request], Awaitable[Response]]


class Shortcut:
    """ASGI middleware that calls one route's endpoint itself.

    Exit stacks, the search among all routes and the solving of dependencies take as long as the
    rest of a request for one small picture. An endpoint that takes nothing but the request needs
    none of them. What it raises is answered by the application's own handlers, and the route stays
    where it is: for its documentation, and for methods that it does not take.

    Args:
        app: what it wraps.
        application: whose handlers of errors are asked.
        path: the route's, without parameters.
        endpoint: answers a POST to it.
    """

    def __init__(self, app: ASGIApp, application: FastAPI, path: str, endpoint: Endpoint) -> None:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await endpoint(Request(scope, receive, send))
            await response(scope, receive, send)

        # Errors without a handler of their own pass through, to be answered and logged outside.
        handlers = {
            kind: handler
            for kind, handler in application.exception_handlers.items()
            if kind not in {500, Exception}
        }
        self._app = app
        self._path = path
        self._route = _Route(path)
        self._answer = ExceptionMiddleware(answer, handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a POST to the path; pass on everything else."""
        if (
            scope["type"] == "http"
            and scope["path"] == self._path
            and scope["method"] == "POST"
            and not scope.get("root_path")
        ):
            scope["route"] = self._route
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _Route(BaseRoute):
    """What a request's scope says about the route that took it."""

    def __init__(self, path: str) -> None:
        self.path = path
