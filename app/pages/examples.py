"""Pictures to try for who has none at hand: some of the serving ensemble's own data set."""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, Response

from app.client import ClientError
from app.pages.rendering import render
from app.pages.visitor import Visitor, VisitorDependency
from app.schemas import ClassCounts, DataSetDetail

_log = logging.getLogger(__name__)

router = APIRouter(include_in_schema=False)

MOST = 8

SPLITS: tuple[Literal["test", "val", "train"], ...] = ("test", "val", "train")
"""Where to look, best first: networks were not trained on the first two."""

Example = tuple[str, str]
"""Split and class of a picture, which is the first of its class."""


@router.get("/pages/try/examples")
async def examples(visitor: VisitorDependency) -> Response:
    """Offer some pictures; a piece that is empty where there are none, or none for this key."""
    dataset, found = "", list[Example]()
    try:
        dataset, found = await _examples(visitor)
    except ClientError as error:  # whoever has pictures can do without these
        _log.info("no examples are offered: %s", error)
    return HTMLResponse(render("_examples.html", dataset=dataset, examples=found))


@router.get("/pages/try/example")
async def example(
    visitor: VisitorDependency,
    dataset: Annotated[str, Query(max_length=64)],
    label: Annotated[str, Query(max_length=1000)],
    split: Literal["train", "val", "test"] = "train",
) -> Response:
    """One of them."""
    answer = Response(
        await visitor.client.dataset_picture(dataset, label, split=split),
        media_type="image/png",
    )
    answer.headers["Cache-Control"] = "private, max-age=600"
    return answer


async def _examples(visitor: Visitor) -> tuple[str, list[Example]]:
    known = await visitor.client.classes()
    name = (await visitor.client.ensemble(known.ensemble)).dataset["name"]
    found = await visitor.client.dataset(name, check=0)
    return name, [] if found.kind == "builtin" else pick(found)  # nobody has its pictures here


def pick(dataset: DataSetDetail, most: int = MOST) -> list[Example]:
    """Return pictures of classes that lie evenly among all, one of each.

    Args:
        dataset: with its classes and how many pictures they have.
        most: pictures at most.
    """
    found = [(split, each.label) for each in dataset.classes if (split := _split(each))]
    step = max(1, len(found) / most)
    return [found[int(number * step)] for number in range(min(most, len(found)))]


def _split(counts: ClassCounts) -> str | None:
    return next((split for split in SPLITS if getattr(counts.pictures, split)), None)
