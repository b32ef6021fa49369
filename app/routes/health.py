"""GET /healthz, GET /readyz, GET /metrics, GET /version."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from app import __version__
from app.routes.responses import problems
from app.schemas import Health, Version
from app.service import ServiceDependency
from app.version import openvino_version, torch_version
from models.errors import NoEnsemble
from training.footprint import training_device

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def alive() -> Health:
    """Whether the process answers at all."""
    return Health(status="alive")


@router.get("/readyz", responses=problems(503))
async def ready(service: ServiceDependency) -> Health:
    """Whether POST /predict can be answered now."""
    service.serving.current()
    return Health(status="ready")


@router.get("/metrics", response_class=Response, responses=problems(503))
def metrics(service: ServiceDependency) -> Response:
    """Metrics for Prometheus."""
    telemetry = service.telemetry
    telemetry.swaps.set(service.serving.swaps)
    telemetry.followers.set(service.followers.count)
    telemetry.waiting_pictures.set(service.batcher.waiting)
    telemetry.unfinished_jobs.set(len(service.jobs.unfinished()))
    try:
        manifest = service.serving.current().manifest
        engine = service.serving.current().choice.default.name
        about = {"id": manifest.id, "members": str(len(manifest.members)), "engine": engine}
        telemetry.ensemble.info(about)
    except NoEnsemble:
        telemetry.ensemble.info({"id": "", "members": "0", "engine": ""})
    return Response(telemetry.text(), media_type=CONTENT_TYPE_LATEST)


@router.get("/version")
def version() -> Version:
    """What runs here."""
    return Version(
        version=__version__,
        torch=torch_version(),
        openvino=openvino_version(),
        device=training_device().type,
    )
