"""``/pages/jobs``: what was asked for and how far it is; one job live; two jobs side by side."""

import asyncio
from collections.abc import AsyncGenerator
from typing import get_args
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from app.client import AsyncStillhouse, Conflict
from app.pages.job_views import compare, view
from app.pages.live import live
from app.pages.rendering import render
from app.pages.visitor import Visitor, VisitorDependency
from app.schemas import Job, JobPage, JobStatus

router = APIRouter(include_in_schema=False)

JOBS = "/pages/jobs"

PER_PAGE = 20
OTHERS = 50
"""Jobs that are offered to be compared with."""

LOOK_SECONDS = 1.0
"""Between two looks at a job: as often as its workers tell how far they are."""


@router.get(JOBS)
async def jobs(visitor: VisitorDependency, status: str = "", cursor: str = "") -> Response:
    """List jobs, newest first."""
    chosen = next((each for each in get_args(JobStatus) if each == status), None)
    page = await visitor.client.job_page(chosen, limit=PER_PAGE, cursor=cursor or None)
    return await visitor.page(
        "jobs.html",
        page=page,
        status=chosen,
        states=get_args(JobStatus),
        first=not cursor,
        live_address=f"{JOBS}/live?{urlencode({'status': chosen or '', 'cursor': cursor})}",
        here=f"{JOBS}?{urlencode({'status': chosen})}&" if chosen else f"{JOBS}?",
    )


@router.get(f"{JOBS}/live")
async def jobs_live(visitor: VisitorDependency, status: str = "", cursor: str = "") -> Response:
    """Keep the list up to date."""
    chosen = next((each for each in get_args(JobStatus) if each == status), None)

    async def changes() -> AsyncGenerator[JobPage, None]:
        shown = None
        while True:
            page = await visitor.client.job_page(chosen, limit=PER_PAGE, cursor=cursor or None)
            if page != shown:
                yield (shown := page)
            await asyncio.sleep(2 * LOOK_SECONDS)

    return live(
        visitor.site.watchers,
        changes(),
        lambda page: render("_jobs.html", page=page, status=chosen),
    )


@router.get(f"{JOBS}/compare")
async def comparison(visitor: VisitorDependency, a: str = "", b: str = "") -> Response:
    """Show two jobs side by side: curves, results, and where their recipes differ."""
    others = (await visitor.client.job_page(limit=OTHERS)).jobs
    pair = [await visitor.client.job(id_) for id_ in (a, b) if id_]
    for job in pair:
        if job.id not in {each.id for each in others}:
            others.append(job)
    found = compare(*pair) if len(pair) == 2 else None
    return await visitor.page("jobs_compare.html", found=found, others=others, a=a, b=b)


@router.get(f"{JOBS}/{{id}}")
async def job(id: str, visitor: VisitorDependency) -> Response:  # noqa: A002  # the contract's word
    """Show one job, which the page then follows."""
    found = await visitor.client.job(id)
    others = [] if found.status == "queued" else await _others(visitor, id)
    return await visitor.page("job.html", job=found, view=view(found), others=others)


@router.get(f"{JOBS}/{{id}}/live")
async def job_live(id: str, visitor: VisitorDependency) -> Response:  # noqa: A002
    """Keep what is shown of a job up to date, until it has ended."""
    return live(visitor.site.watchers, looks(visitor.client, id), _pieces)


@router.post(f"{JOBS}/{{id}}/cancel")
async def cancel(id: str, visitor: VisitorDependency) -> Response:  # noqa: A002
    """Ask a job to stop."""
    try:
        found = await visitor.client.cancel(id)
    except Conflict:  # it has ended meanwhile, which the page is about to show
        found = await visitor.client.job(id)
    if visitor.wants_fragment:
        return Response(_pieces(found, stopping=True), media_type="text/html; charset=utf-8")
    return RedirectResponse(f"{JOBS}/{found.id}", 303)


async def looks(client: AsyncStillhouse, id_: str) -> AsyncGenerator[Job, None]:
    """Yield a job at once and after every change, until it has ended.

    Asked for again and again: its events tell of finished epochs, and people look at what moves
    between them. Nor do visitors of pages take the places of those who follow events.
    """
    shown = None
    while shown is None or not shown.finished:
        found = await client.job(id_)
        if found != shown:
            yield (shown := found)
        if not shown.finished:
            await asyncio.sleep(LOOK_SECONDS)


def _pieces(found: Job, *, stopping: bool = False) -> str:
    return render("_job.html", job=found, view=view(found), stopping=stopping)


async def _others(visitor: Visitor, id_: str) -> list[Job]:
    page = await visitor.client.job_page(limit=OTHERS)
    return [each for each in page.jobs if each.id != id_ and each.status != "queued"]
