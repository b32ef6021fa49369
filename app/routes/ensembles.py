"""GET /ensembles, GET /ensembles/<id>, its report and archive, POST of one, what serves."""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from app.bodies import ZIP_BODY, ZIP_TYPES, received_zip
from app.ensembles import detail_of, import_archive, summary_of
from app.routes.json_bodies import JsonRoute
from app.routes.responses import problems
from app.schemas import (
    Engines,
    EnsembleDetail,
    EnsembleList,
    EnsembleSummary,
    ServingChange,
    ServingRequest,
)
from app.service import Service, ServiceDependency
from models.archives import SUFFIX, read_archive
from models.errors import NoEnsemble

router = APIRouter(prefix="/ensembles", tags=["ensembles"], route_class=JsonRoute)


@router.get("", responses=problems(503))
def list_ensembles(service: ServiceDependency) -> EnsembleList:
    """All ensembles that can be served, newest first."""
    serving = service.store.serving()
    return EnsembleList(
        serving=serving,
        ensembles=[
            summary_of(manifest, serving, service.serving.measured_seconds(manifest.id))
            for manifest in service.store.ensembles()
        ],
    )


@router.put("/serving", responses=problems(400, 404, 413, 422, 503, 507))
def serve(wanted: ServingRequest, service: ServiceDependency) -> ServingChange:
    """Make an ensemble the serving one: promotion and rollback are the same call."""
    previous = service.serving.promote(wanted.ensemble)
    manifest = service.store.manifest(wanted.ensemble)
    return ServingChange(ensemble=manifest.id, members=len(manifest.members), previous=previous)


@router.get("/{id}", responses=problems(404, 422, 503))
def get_ensemble(id: str, service: ServiceDependency) -> EnsembleDetail:  # noqa: A002
    """Everything there is to know about an ensemble."""
    manifest = service.store.manifest(id)
    return detail_of(manifest, service.store.serving(), _engines(service, manifest.id))


@router.get("/{id}/report", responses=problems(404, 422, 503))
def get_report(id: str, service: ServiceDependency) -> dict[str, Any]:  # noqa: A002
    """Its learning curves, reliability and confusion; the layout is in `training/report.py`."""
    return service.store.report(id)


@router.get(
    "/{id}/archive",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The archive",
            "content": {ZIP_TYPES[0]: {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404, 422, 503),
    },
)
def get_archive(id: str, service: ServiceDependency) -> StreamingResponse:  # noqa: A002
    """All of an ensemble in one zip, as `POST /ensembles` takes it, here or elsewhere."""
    pieces = read_archive(service.store, id)
    headers = {"Content-Disposition": f'attachment; filename="{id}{SUFFIX}"'}
    return StreamingResponse(pieces, media_type=ZIP_TYPES[0], headers=headers)


@router.post(
    "",
    status_code=201,
    openapi_extra=ZIP_BODY,
    responses={
        200: {"description": "It was there already", "model": EnsembleSummary},
        **problems(409, 413, 415, 422, 429, 503, 507),
    },
)
async def import_ensemble(
    request: Request, response: Response, service: ServiceDependency
) -> EnsembleSummary:
    """Take in an archive that `GET /ensembles/<id>/archive` gave. It does not serve thereby."""
    most = service.settings.max_ensemble_bytes
    async with received_zip(request, service.receiving) as file:
        summary, new = await asyncio.to_thread(import_archive, file, most, service.store)
    response.status_code = 201 if new else 200
    response.headers["Location"] = f"/ensembles/{summary.id}"
    return summary


def _engines(service: Service, id_: str) -> Engines | None:
    try:
        answering = service.serving.current()
    except NoEnsemble:
        return None
    choice = answering.choice
    if answering.manifest.id != id_:
        return None
    return Engines(
        default=choice.default.name,
        exact=choice.exact.name,
        fast=choice.fast.name,
        reasons=dict(choice.reasons),
        seconds=dict(choice.seconds),
    )
