"""GET /ensembles, GET /ensembles/<id>, its report, and PUT /ensembles/serving."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

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
from models.ensemble import EnsembleManifest
from models.errors import NoEnsemble

router = APIRouter(prefix="/ensembles", tags=["ensembles"], route_class=JsonRoute)


@router.get("", responses=problems(503))
def list_ensembles(service: ServiceDependency) -> EnsembleList:
    """All ensembles that can be served, newest first."""
    serving = service.store.serving()
    return EnsembleList(
        serving=serving,
        ensembles=[_summary(manifest, serving) for manifest in service.store.ensembles()],
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
    fields = asdict(manifest)
    del fields["predictions"]
    serving = service.store.serving() == manifest.id
    return EnsembleDetail(
        **fields, serving=serving, bytes=manifest.bytes, engines=_engines(service, manifest.id)
    )


@router.get("/{id}/report", responses=problems(404, 422, 503))
def get_report(id: str, service: ServiceDependency) -> dict[str, Any]:  # noqa: A002
    """Its learning curves, reliability and confusion; the layout is in `training/report.py`."""
    return service.store.report(id)


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


def _summary(manifest: EnsembleManifest, serving: str | None) -> EnsembleSummary:
    test = manifest.metrics.get("test")
    return EnsembleSummary(
        id=manifest.id,
        name=manifest.name,
        network=manifest.network,
        members=len(manifest.members),
        classes=len(manifest.classes),
        dataset=manifest.dataset,
        bytes=manifest.bytes,
        serving=manifest.id == serving,
        val_accuracy=manifest.metrics["validation"]["pooled"]["accuracy"],
        test_accuracy=test["pooled"]["accuracy"] if test else None,
        created_at=manifest.created_at,
    )
