"""Pictures to try for who has none at hand: some of the serving ensemble's own data set."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.responses import HTMLResponse, Response

from app.client import ClientError
from app.pages.rendering import render
from app.pages.visitor import Visitor, VisitorDependency
from app.schemas import ClassCounts, DataSetDetail

router = APIRouter(include_in_schema=False)

MOST = 8

SPLITS: tuple[Literal["test", "val", "train"], ...] = ("test", "val", "train")
"""Where to look, best first: networks were not trained on the first two."""

Example = tuple[str, str]
"""Split and class of a picture, which is the first of its class."""


@router.get("/pages/try/examples")
async def examples(visitor: VisitorDependency) -> Response:
    """Offer some pictures; a piece that is empty where there are none, or none for this key."""
    try:
        found = await _examples(visitor)
    except ClientError:  # whoever has pictures can do without these
        found = []
    return HTMLResponse(render("_examples.html", examples=found))


@router.get("/pages/try/example")
async def example(
    visitor: VisitorDependency,
    label: Annotated[str, Query(max_length=1000)],
    split: Literal["train", "val", "test"] = "train",
) -> Response:
    """One of them."""
    answer = Response(
        await visitor.client.dataset_picture(await _dataset(visitor), label, split=split),
        media_type="image/png",
    )
    answer.headers["Cache-Control"] = "private, max-age=600"
    return answer


async def _dataset(visitor: Visitor) -> str:
    known = await visitor.client.classes()
    return (await visitor.client.ensemble(known.ensemble)).dataset["name"]


async def _examples(visitor: Visitor) -> list[Example]:
    name = await _dataset(visitor)
    found = await visitor.client.dataset(name, check=0)
    return [] if found.kind == "builtin" else pick(found)  # nobody has its pictures here


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
