"""The pages as parts of the application, and how they tell what went wrong."""

from pathlib import Path

import httpx
from fastapi import APIRouter, FastAPI, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from app.client import ClientError, Unauthorised
from app.client.errors import Refused
from app.client.in_process import InProcess
from app.followers import Followers
from app.logs import request_id
from app.pages import data, ensembles, examples, job_form, jobs, sign_in, trying
from app.pages.rendering import render
from app.pages.visitor import NotFromHere, Site, Visitor, VisitorDependency, visitor_of
from app.request_ids import HEADER
from app.settings import Settings

_STATIC = Path(__file__).parent / "static"


class _Files(StaticFiles):
    """Files of which a browser asks each time whether they are still the same."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def install(application: FastAPI, settings: Settings, *, keys_needed: bool) -> None:
    """Add the pages to an application, which they call like any other client.

    Args:
        application: with all calls of the contract.
        settings: limits that pages tell.
        keys_needed: whether the service asks for keys.
    """
    http = httpx.AsyncClient(
        transport=InProcess(application),
        base_url="http://stillhouse",
        trust_env=False,
        event_hooks={"request": [_name]},
    )
    watchers = Followers(settings.max_followers, "open pages are kept up to date already")
    application.state.site = Site(http, keys_needed, settings.max_picture_bytes, watchers)
    application.add_exception_handler(ClientError, _tell_refusal)
    application.add_exception_handler(NotFromHere, _tell_strangers)
    application.mount("/pages/static", _Files(directory=_STATIC), name="static")
    for module in (trying, examples, sign_in, job_form, jobs, ensembles, data):
        application.include_router(module.router)
    application.include_router(_rest)


async def _name(request: httpx.Request) -> None:
    # What a page asks is logged, and told in problems, under the id of the request for the page.
    if id_ := request_id.get():
        request.headers.setdefault(HEADER, id_)


_rest = APIRouter(include_in_schema=False)


@_rest.get("/pages/status")
async def status(visitor: VisitorDependency) -> Response:
    """How the service is, as the piece of a page."""
    return Response(
        render("_status.html", service=await visitor.status()),
        media_type="text/html; charset=utf-8",
    )


@_rest.get("/pages/{path:path}")
async def nothing(path: str, visitor: VisitorDependency) -> Response:  # noqa: ARG001  # named by the route
    """Say that there is no such page."""
    return await problem_page(visitor, 404, "There is no such page", "Perhaps it was mistyped.")


async def problem_page(visitor: Visitor, status_code: int, title: str, detail: str) -> Response:
    """Return a page that tells a problem, or its piece where a page is shown already."""
    if visitor.wants_fragment:
        return HTMLResponse(render("_problem.html", title=title, detail=detail), status_code)
    return await visitor.page("problem.html", status_code, title=title, detail=detail)


async def _tell_refusal(request: Request, error: Exception) -> Response:
    visitor = visitor_of(request)
    if isinstance(error, Unauthorised) and error.status == 401 and not visitor.wants_fragment:
        address = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        to = address if request.method == "GET" else "/"
        return RedirectResponse(sign_in.sign_in_address(to), 303)
    if isinstance(error, Refused):
        problem = error.problem
        return await problem_page(visitor, problem.status, problem.title, problem.detail)
    return await problem_page(visitor, 502, "The service does not answer", str(error))


async def _tell_strangers(request: Request, _: Exception) -> Response:
    visitor = visitor_of(request)
    detail = "Another site sent this, or a program; programs use the calls of the API."
    return await problem_page(visitor, 403, "Only pages of this service may do that", detail)
