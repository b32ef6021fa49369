"""``/pages/data``: the pictures there are to learn from, and how to bring others."""

from collections.abc import AsyncGenerator
from typing import Annotated, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.client.requests import quoted
from app.limits import PAGE_OF_DATA_SETS
from app.pages.live import live
from app.pages.passing import pass_on
from app.pages.rendering import render
from app.pages.visitor import VisitorDependency
from app.schemas import DataSetDetail

router = APIRouter(include_in_schema=False)

DATA = "/pages/data"

LOOKED_AT = 500
"""Pictures that are decoded to look for trouble: seconds, after the page is there."""

A_FEW = 4
"""Pictures of each class that are shown."""

Split = Literal["train", "val", "test"]


@router.get(DATA)
async def data_sets(visitor: VisitorDependency) -> Response:
    """List data sets, and say how another one comes here."""
    found = await visitor.client.datasets()
    return await visitor.page("data_sets.html", found=found, upload=PAGE_OF_DATA_SETS)


@router.post(PAGE_OF_DATA_SETS)
async def upload(
    visitor: VisitorDependency, name: Annotated[str, Query(max_length=1000)] = ""
) -> Response:
    """Take in a zip of pictures, and say where to go."""
    if not name:
        text = render("_problem.html", title="It has no name", detail="Write one, and send again.")
        return HTMLResponse(text, 422)
    await pass_on(visitor, "PUT", f"/datasets/{quoted(name)}")
    return RedirectResponse(f"{DATA}/{quote(name)}", 303)


@router.get(f"{DATA}/{{name}}")
async def data_set(name: str, visitor: VisitorDependency) -> Response:
    """Show one data set; what takes longer to find comes into the page later."""
    found = await visitor.client.dataset(name, check=0)
    counts = [each.pictures.train for each in found.classes]
    return await visitor.page(
        "data_set.html",
        found=found,
        most=max(counts, default=0),
        a_few=A_FEW,
        looked=None,
    )


@router.get(f"{DATA}/{{name}}/check")
async def check(name: str, visitor: VisitorDependency) -> Response:
    """Look through the pictures, and tell once what is likely to go wrong."""

    async def changes() -> AsyncGenerator[DataSetDetail, None]:
        yield await visitor.client.dataset(name, check=LOOKED_AT)

    return live(
        visitor.site.watchers,
        changes(),
        lambda found: render("_data_warnings.html", looked=found),
    )


@router.get(f"{DATA}/{{name}}/picture")
async def picture(
    name: str,
    visitor: VisitorDependency,
    label: Annotated[str, Query(max_length=1000)],
    split: Split = "train",
    index: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> Response:
    """One picture, to look at."""
    data = await visitor.client.dataset_picture(name, label, split=split, index=index)
    headers = {"Cache-Control": "private, max-age=600"}
    return Response(data, media_type="image/png", headers=headers)
