"""``/``: pictures are dropped here, and answered."""

import io
import time
from typing import Annotated, get_args

from fastapi import APIRouter, Query
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.responses import HTMLResponse, Response

from app.client import Invalid, Refused
from app.limits import PAGE_OF_PICTURES
from app.pages.rendering import render
from app.pages.verdicts import curl_command, verdict_of
from app.pages.visitor import Visitor, VisitorDependency
from app.routes.disconnects import unless_gone
from app.schemas import Mode, PredictQuery

router = APIRouter(include_in_schema=False)

ANSWER = PAGE_OF_PICTURES

OPTIONS = ("top_k", "max_members", "mode", "conformal")

COVERAGE = 0.9
"""How often a set of classes is to hold the right one, unless told."""

LONGEST_NAME = 200


@router.get("/")
async def page(visitor: VisitorDependency) -> Response:
    """Show where to drop pictures."""
    return await visitor.page(
        "try.html",
        values={"conformal": f"{COVERAGE:g}"},
        wrong={},
        modes=get_args(Mode),
        answer=ANSWER,
        max_picture_bytes=visitor.site.max_picture_bytes,
    )


@router.post(ANSWER)
async def answer(
    visitor: VisitorDependency, name: Annotated[str, Query(max_length=10_000)] = ""
) -> Response:
    """Answer one picture, which is the body; what comes back is a piece of the page."""
    # Before the body is read: who may not ask cannot make the service hold a picture.
    await visitor.client.classes()
    given = _given(visitor.request.query_params)
    try:
        asked = PredictQuery.model_validate(given)
    except ValidationError as error:
        wrong = {str(each["loc"][0]): each["msg"] for each in error.errors()}
        return await _options(visitor, given, wrong)
    file = io.BytesIO(await visitor.request.body())
    file.name = shown = _short(name)
    began = time.perf_counter()
    try:
        found = await unless_gone(
            visitor.request,
            visitor.client.predict(
                file,
                top_k=asked.top_k,
                max_members=asked.max_members,
                mode=asked.mode,
                conformal=asked.conformal,
                votes=True,
            ),
        )
    except Invalid as error:
        wrong = {each.field: each.reason for each in error.fields if each.field in OPTIONS}
        return await _options(visitor, given, wrong) if wrong else _no_answer(error)
    seconds = time.perf_counter() - began
    (prediction,) = found.predictions
    command = curl_command(
        str(visitor.request.base_url), shown, given, key_needed=visitor.site.keys_needed
    )
    text = render(
        "_answer.html",
        found=found,
        prediction=prediction,
        verdict=verdict_of(prediction),
        conformal=asked.conformal,
        seconds=seconds,
        command=command,
    )
    return HTMLResponse(text)


def _given(query: QueryParams) -> dict[str, str]:
    return {name: query[name].strip() for name in OPTIONS if query.get(name, "").strip()}


async def _options(visitor: Visitor, values: dict[str, str], wrong: dict[str, str]) -> Response:
    text = render(
        "_try_options.html",
        service=await visitor.status(),
        values=values,
        wrong=wrong,
        modes=get_args(Mode),
    )
    return HTMLResponse(text, 422)


def _no_answer(error: Refused) -> Response:
    # The service names the part of its own request, of which this picture is the only one.
    detail = error.problem.detail.rpartition("): ")[2]
    text = render("_no_answer.html", title=error.problem.title, detail=detail)
    return HTMLResponse(text, error.status)


def _short(name: str) -> str:
    name = "".join(letter if letter.isprintable() else "_" for letter in name)
    name = name.replace("\\", "/").rpartition("/")[2]
    return name[-LONGEST_NAME:] or "picture"
