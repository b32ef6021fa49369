"""POST /jobs/distill and what there is to ask of jobs."""

import logging
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from kombu.exceptions import OperationalError

from app.events import follow_job
from app.recipe_request import RecipeRequest
from app.request_ids import id_of
from app.routes.json_bodies import JsonRoute
from app.routes.responses import problems
from app.schemas import Job, JobPage, JobStatus
from app.service import ServiceDependency
from app.tasks import enqueue
from models.errors import TooBusy
from training.feasible import check_against_data

router = APIRouter(prefix="/jobs", tags=["jobs"], route_class=JsonRoute)
_log = logging.getLogger(__name__)

_EVENT_ID = r"^\d{1,15}-\d{1,9}$"


@router.post("/distill", status_code=202, responses=problems(400, 409, 413, 422, 429, 503, 507))
def distill(
    recipe_request: RecipeRequest,
    request: Request,
    response: Response,
    service: ServiceDependency,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> Job:
    """Ask for an ensemble. Every field has a default; `{}` is a valid recipe."""
    recipe = recipe_request.to_recipe()
    check_against_data(recipe, service.settings.data, service.store)
    limit = service.settings.max_unfinished_jobs
    job, new = service.jobs.accept(recipe, idempotency_key, limit, id_of(request.scope))
    response.headers["Location"] = f"/jobs/{job.id}"
    if new:
        try:
            enqueue(job.id)
        except OperationalError as error:  # it is written down, and the next sweep enqueues it
            _log.warning("job %s accepted, but the queue is away: %s", job.id, error)
    return job


@router.get("", responses=problems(404, 422, 503))
def list_jobs(
    service: ServiceDependency,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Annotated[str | None, Query(max_length=64, description="`next_cursor`")] = None,
) -> JobPage:
    """All jobs, newest first."""
    return service.jobs.page(status, limit, cursor)


@router.get("/{id}", responses=problems(404, 422, 503))
def get_job(id: str, service: ServiceDependency) -> Job:  # noqa: A002  # the path's word
    """How far a job is, or how it ended."""
    return service.jobs.get(id)


@router.delete("/{id}", status_code=202, responses=problems(404, 409, 422, 503))
def cancel_job(id: str, service: ServiceDependency) -> Job:  # noqa: A002
    """Ask a job to stop. It ends `cancelled` within seconds, also when still queued."""
    return service.jobs.cancel(id)


def _known_job(id: str, service: ServiceDependency) -> Job:  # noqa: A002
    # A dependency, since once the stream has begun there is no telling of problems.
    return service.jobs.get(id)


async def _place_to_follow(service: ServiceDependency) -> AsyncIterator[None]:
    # For the same reason; what is behind the block is done when the stream has ended.
    try:
        with service.followers.another():
            yield
    except TooBusy:
        service.telemetry.rejected.labels("too-many-followers").inc()
        raise


@router.get(
    "/{id}/events",
    response_class=EventSourceResponse,
    responses=problems(404, 422, 429, 503),
    dependencies=[Depends(_place_to_follow)],
)
async def job_events(
    job: Annotated[Job, Depends(_known_job)],
    service: ServiceDependency,
    last_event_id: Annotated[str | None, Header(pattern=_EVENT_ID)] = None,
) -> AsyncIterator[ServerSentEvent]:
    """State changes and finished epochs as they happen; ends with the job."""
    async for event in follow_job(job, service, last_event_id):
        yield event
