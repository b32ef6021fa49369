"""POST /predict and GET /classes."""

import asyncio
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError

from app.answers import answer
from app.routes.responses import problems
from app.schemas import Classes, Prediction, Predictions
from app.service import ServiceDependency
from app.uploads import MEDIA_TYPES, PART, decode_uploads, read_uploads

router = APIRouter(tags=["predict"])

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [PART],
                    "properties": {
                        PART: {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                    "additionalProperties": False,
                }
            },
            **{type_: {"schema": {"type": "string", "format": "binary"}} for type_ in MEDIA_TYPES},
        },
    }
}


@router.post("/predict", openapi_extra=_BODY, responses=problems(400, 413, 415, 422, 503))
async def predict(
    request: Request,
    service: ServiceDependency,
    top_k: Annotated[int | None, Query(ge=1, description="classes to name; 5 unless told")] = None,
    max_members: Annotated[
        int | None, Query(ge=1, description="ask only the first so many members")
    ] = None,
) -> Predictions:
    """Name what is in pictures: multipart with parts named `file`, or one picture as the body."""
    ensemble = service.serving.current()
    manifest, limits = ensemble.manifest, service.settings.picture_limits
    classes = len(manifest.classes)
    if top_k is not None and top_k > classes:
        reason = f"Input should be at most {classes}, the number of classes"
        raise RequestValidationError([{"loc": ("query", "top_k"), "msg": reason}])
    uploads = await read_uploads(request, service.settings.max_pictures_per_request, limits)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    pictures = await loop.run_in_executor(
        service.decoders, decode_uploads, uploads, manifest.size, limits
    )
    decoded = time.perf_counter()
    service.telemetry.decode_seconds.observe(decoded - started)

    def ask() -> list[Prediction]:
        began = time.perf_counter()
        names = [upload.name for upload in uploads]
        predictions = answer(ensemble, pictures, names, top_k or min(5, classes), max_members)
        service.telemetry.engine_seconds.observe(time.perf_counter() - began)
        return predictions

    predictions = await loop.run_in_executor(service.engine, ask)
    service.telemetry.pictures.inc(len(predictions))
    return Predictions(ensemble=manifest.id, members=len(manifest.members), predictions=predictions)


@router.get("/classes", responses=problems(503))
async def classes(service: ServiceDependency) -> Classes:
    """Class names in id order, of the serving ensemble."""
    manifest = service.serving.current().manifest
    return Classes(ensemble=manifest.id, classes=list(manifest.classes))
