"""``/pages/ensembles``: all there are, one in detail, and which of them answers."""

from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from app.client import Missing, Unavailable
from app.client.requests import json_object
from app.limits import PAGE_OF_ARCHIVES
from app.pages.ensemble_views import COLUMNS, sort, view
from app.pages.passing import pass_back, pass_on
from app.pages.verdicts import promote_command
from app.pages.visitor import Visitor, VisitorDependency
from app.schemas import EnsembleSummary

router = APIRouter(include_in_schema=False)

ENSEMBLES = "/pages/ensembles"


@router.get(ENSEMBLES)
async def ensembles(visitor: VisitorDependency, sort_by: str = "", new: str = "") -> Response:
    """List ensembles, the serving one first unless a column is chosen."""
    found = await visitor.client.ensembles()
    return await visitor.page(
        "ensembles.html",
        ensembles=sort(found.ensembles, sort_by),
        columns=COLUMNS,
        sort_by=sort_by if sort_by in COLUMNS else "",
        new=new if new in {each.id for each in found.ensembles} else None,
        upload=PAGE_OF_ARCHIVES,
    )


@router.post(PAGE_OF_ARCHIVES)
async def take_in(visitor: VisitorDependency) -> Response:
    """Bring in an ensemble that was exported, and say where to go."""
    response = await pass_on(visitor, "POST", "/ensembles")
    id_ = str(json_object(response.content)["id"])
    return RedirectResponse(f"{ENSEMBLES}?{urlencode({'new': id_})}", 303)


@router.get(f"{ENSEMBLES}/{{id}}")
async def ensemble(id: str, visitor: VisitorDependency, before: str = "") -> Response:  # noqa: A002
    """Show one ensemble: what it reaches, where it errs, and how it came to be."""
    found = await visitor.client.ensemble(id)
    known = {each.id: each for each in (await visitor.client.ensembles()).ensembles}
    serving = next((each for each in known.values() if each.serving), None)
    report, is_damaged = await _report(visitor, found.id)
    return await visitor.page(
        "ensemble.html",
        ensemble=found,
        summary=known.get(found.id),
        serving=serving,
        other_classes=await _other_classes(visitor, found.classes, serving),
        before=known.get(before),
        known=known,
        view=view(found, report),
        report_is_damaged=is_damaged,
        command=promote_command(
            str(visitor.request.base_url), found.id, key_needed=visitor.site.keys_needed
        ),
    )


@router.post(f"{ENSEMBLES}/{{id}}/promote")
async def promote(id: str, visitor: VisitorDependency) -> Response:  # noqa: A002
    """Let an ensemble answer from now on."""
    change = await visitor.client.promote(id)
    before = {"before": change.previous} if change.previous not in {None, change.ensemble} else {}
    address = f"{ENSEMBLES}/{quote(change.ensemble)}"
    return RedirectResponse(f"{address}?{urlencode(before)}" if before else address, 303)


@router.get(f"{ENSEMBLES}/{{id}}/archive")
async def archive(id: str, visitor: VisitorDependency) -> Response:  # noqa: A002
    """All of an ensemble in one file, for a browser to keep."""
    return await pass_back(visitor, f"/ensembles/{quote(id, safe='')}/archive")


async def _report(visitor: Visitor, id_: str) -> tuple[dict[str, Any] | None, bool]:
    """Return an ensemble's report, or none, and whether there is one that is damaged."""
    try:
        return await visitor.client.report(id_), False
    except Missing:  # it was published without
        return None, False
    except Unavailable as error:
        if error.kind != "corrupt-artefact":
            raise
        return None, True  # what is wrong with it, and where it lies, is in the service's log


async def _other_classes(
    visitor: Visitor, classes: list[str], serving: EnsembleSummary | None
) -> int:
    """Return how many classes the serving ensemble knows that this one does not."""
    if serving is None:
        return 0
    return len(set((await visitor.client.ensemble(serving.id)).classes) - set(classes))
