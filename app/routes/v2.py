"""The Open Inference Protocol, version 2: what clients of KServe and of Triton call.

Source: "Open Inference Protocol", HTTP/REST (kserve/open-inference-protocol, inference_rest.md).
"""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from app.answers import Answer, How
from app.inference_protocol import (
    INPUT,
    OUTPUTS,
    VERSION,
    Inference,
    InvalidInference,
    read_inference,
    write_inference,
)
from app.inference_schemas import (
    MOST_TIMEOUT_MICROSECONDS,
    InferenceAnswer,
    InferenceError,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    TensorMetadata,
)
from app.problems import ANSWERS
from app.routes.disconnects import unless_gone
from app.schemas import TIMEOUT_MS
from app.service import ServiceDependency
from models.answering import Answering
from models.errors import DeadlineExceeded, EnsembleNotFound, NotFound, TooBusy

SERVING = "serving"
"""The model's name that means whichever ensemble serves."""

_SMALL_BYTES = 2**15
"""A body that is read sooner than it is handed to another thread."""

router = APIRouter(prefix="/v2", tags=["open inference protocol"])


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": InferenceError} for code in codes}


_TENSORS = {"type": "array", "minItems": 1, "maxItems": 1, "items": {"type": "object"}}
_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["inputs"],
                    "properties": {"inputs": _TENSORS},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


@dataclass(frozen=True)
class Model:
    """An ensemble, under the name that the client has for it."""

    name: str
    answering: Answering


async def find_model(request: Request, name: str, service: ServiceDependency) -> Model:
    """Return the model that a path names.

    Raises:
        NoEnsemble: none serves.
        EnsembleNotFound: it is not the one that serves.
        NotFound: it has no such version.
    """
    answering = service.serving.current()
    serves = answering.manifest.id
    if name not in {SERVING, serves}:
        reason = f"only the ensemble that serves answers, which is {serves!r} or {SERVING!r}"
        raise EnsembleNotFound(f"{reason}, and not {name!r}")
    version = request.path_params.get("version", VERSION)
    if version != VERSION:
        raise NotFound(f"an ensemble has the version {VERSION!r} only, and not {version!r}")
    return Model(name, answering)


ModelDependency = Annotated[Model, Depends(find_model)]


@router.get("")
async def server_metadata(request: Request) -> ServerMetadata:
    """What this server is, and which extensions of the protocol it knows."""
    extensions = ["binary_tensor_data", "parameters"]
    return ServerMetadata(name="stillhouse", version=request.app.version, extensions=extensions)


@router.get("/health/live")
async def server_live() -> Live:
    """Whether the process answers at all."""
    return Live(live=True)


@router.get("/health/ready", responses=_errors(503))
async def server_ready(service: ServiceDependency) -> Ready:
    """Whether pictures can be answered now."""
    service.serving.current()
    return Ready(ready=True)


@router.get("/models/{name}", responses=_errors(404, 422, 503))
@router.get("/models/{name}/versions/{version}", include_in_schema=False)
async def model_metadata(model: ModelDependency) -> ModelMetadata:
    """What an ensemble takes and gives; its name is its id, or `serving`."""
    manifest = model.answering.manifest
    shapes = {"probabilities": [-1, len(manifest.classes)]}
    images = TensorMetadata(
        name=INPUT, datatype="UINT8", shape=[-1, manifest.size, manifest.size, 3]
    )
    return ModelMetadata(
        name=model.name,
        versions=[VERSION],
        platform="stillhouse_safetensors",
        inputs=[images],
        outputs=[
            TensorMetadata(name=name, datatype=datatype, shape=shapes.get(name, [-1]))
            for name, (datatype, _) in OUTPUTS.items()
        ],
    )


@router.get("/models/{name}/ready", responses=_errors(404, 422, 503))
@router.get("/models/{name}/versions/{version}/ready", include_in_schema=False)
async def model_ready(model: ModelDependency) -> ModelReady:
    """Whether an ensemble can infer now."""
    return ModelReady(name=model.name, ready=True)


@router.post(
    "/models/{name}/infer",
    openapi_extra=_REQUEST,
    response_model=InferenceAnswer,
    responses=_errors(400, 404, 413, 415, 422, 429, 503, 504),
)
@router.post("/models/{name}/versions/{version}/infer", include_in_schema=False)
async def infer(request: Request, service: ServiceDependency, model: ModelDependency) -> Response:
    """Average what the members make of pictures, in JSON or as binary tensors."""
    started = time.monotonic()
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise HTTPException(415, f"send the body as it is, not in the encoding {encoding!r}")
    settings, manifest = service.settings, model.answering.manifest
    json_bytes = request.headers.get("inference-header-content-length")

    async def answer(body: bytes) -> tuple[Inference, How, list[Answer]]:
        most = settings.max_pictures_per_request
        read = partial(read_inference, body, json_bytes, manifest.size, most)
        if len(body) <= _SMALL_BYTES:
            inference = read()
        else:
            loop = asyncio.get_running_loop()
            inference = await loop.run_in_executor(service.decoders, read)
        how = How(model.answering, inference.mode or settings.predict_mode)
        seconds = inference.timeout_seconds or TIMEOUT_MS / 1000
        left = started + seconds - time.monotonic()
        return inference, how, await service.batcher.ask(how, list(inference.images), left)

    try:
        # The timeout is in the body, which is not worth reading if even the longest is too short.
        service.batcher.refuse_if_busy(MOST_TIMEOUT_MICROSECONDS / 1e6)
        inference, how, answers = await unless_gone(request, answer(await request.body()))
    except InvalidInference as error:
        raise HTTPException(400, str(error)) from error
    except (TooBusy, DeadlineExceeded) as error:
        service.telemetry.rejected.labels(ANSWERS[type(error)].type).inc()
        raise
    about: dict[str, str | int] = {
        "ensemble": manifest.id,
        "members": len(manifest.members),
        "engine": model.answering.engine(how.mode).name,
        "mode": how.mode,
    }
    content, json_length = write_inference(model.name, inference, answers, about)
    if json_length is None:
        return Response(content, media_type="application/json")
    headers = {"Inference-Header-Content-Length": str(json_length)}
    return Response(content, headers=headers, media_type="application/octet-stream")
