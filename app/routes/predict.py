"""POST /predict and GET /classes."""

import time
from functools import lru_cache
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.datastructures import QueryParams

from app.answers import Answer, How, to_prediction
from app.problems import ANSWERS
from app.routes.disconnects import unless_gone
from app.routes.parameters import parameters_of
from app.routes.responses import problems
from app.schemas import PART, TIMEOUT_HEADER, Classes, Predictions, PredictQuery
from app.service import ServiceDependency, get_service
from app.uploads import MEDIA_TYPES, Upload, decode_soon, read_uploads
from models.answering import Answering
from models.errors import DeadlineExceeded, TooBusy

router = APIRouter(tags=["predict"])

_EXPLAINED: dict[str, Any] = {
    "parameters": parameters_of(PredictQuery, headers={TIMEOUT_HEADER}),
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
    },
}


@router.post(
    "/predict",
    openapi_extra=_EXPLAINED,
    response_model=Predictions,
    responses=problems(400, 413, 415, 422, 429, 503, 504),
)
async def predict(request: Request) -> Response:
    """Name what is in pictures: multipart with parts named `file`, or one picture as the body."""
    service = get_service(request)
    settings, answering = service.settings, service.serving.current()
    asked = _read_query(request, answering)
    until = time.monotonic() + asked.timeout_ms / 1000
    limits = settings.picture_limits
    mode = asked.mode or settings.predict_mode
    how = How(answering, mode, asked.max_members, asked.conformal, asked.votes)

    async def answer(uploads: list[Upload]) -> list[Answer]:
        started = time.perf_counter()
        size = answering.manifest.size
        pictures = await decode_soon(uploads, size, limits, service.decoders)
        service.telemetry.decode_seconds.observe(time.perf_counter() - started)
        return await service.batcher.ask(how, pictures, until - time.monotonic())

    try:
        # Who is refused costs no more than the headers: those who are accepted need the cores.
        service.batcher.refuse_if_busy(asked.timeout_ms / 1000)
        uploads = await read_uploads(request, settings.max_pictures_per_request, limits)
        answers = await unless_gone(request, answer(uploads))
    except (TooBusy, DeadlineExceeded) as error:
        service.telemetry.rejected.labels(ANSWERS[type(error)].type).inc()
        raise
    classes = answering.manifest.classes
    top = asked.top_k or min(5, len(classes))
    predictions = {
        "ensemble": answering.manifest.id,
        "members": len(answering.manifest.members),
        "engine": answering.engine(mode).name,
        "mode": mode,
        "predictions": [
            to_prediction(found, upload.name, classes, top)
            for found, upload in zip(answers, uploads, strict=True)
        ],
    }
    return Response(to_json(predictions), media_type="application/json")


def _read_query(request: Request, answering: Answering) -> PredictQuery:
    """Read the query and X-Timeout-Ms by hand, in a tenth of the framework's time.

    Raises:
        RequestValidationError: as the framework's own.
    """
    asked = _parse(request.scope["query_string"], request.headers.get(TIMEOUT_HEADER))
    _check(answering, asked)
    return asked


@lru_cache(1024)  # few ways of asking are ever used
def _parse(query: bytes, timeout: str | None) -> PredictQuery:
    given: dict[str, str] = dict(QueryParams(query))
    if timeout is not None:
        given[TIMEOUT_HEADER] = timeout
    try:
        return PredictQuery.model_validate(given)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False)
        raise RequestValidationError(
            [{**each, "loc": ("query", *each["loc"])} for each in found]
        ) from error


def _check(answering: Answering, asked: PredictQuery) -> None:
    classes, doubt = len(answering.manifest.classes), answering.doubt
    if asked.top_k is not None and asked.top_k > classes:
        reason = f"Input should be at most {classes}, the number of classes"
        raise RequestValidationError([{"loc": ("query", "top_k"), "msg": reason}])
    if asked.conformal is not None and (doubt is None or doubt.conformal is None):
        reason = "the serving ensemble was published without what conformal sets need"
        raise RequestValidationError([{"loc": ("query", "conformal"), "msg": reason}])


@router.get("/classes", responses=problems(503))
async def classes(service: ServiceDependency) -> Classes:
    """Class names in id order, of the serving ensemble."""
    manifest = service.serving.current().manifest
    return Classes(ensemble=manifest.id, classes=list(manifest.classes))
