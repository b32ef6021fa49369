"""Requests and answers of the Open Inference Protocol 2: JSON, and binary tensors after it.

Sources: "Open Inference Protocol", HTTP/REST (kserve/open-inference-protocol, inference_rest.md);
for binary tensors the "Binary Tensor Data Extension" and for ``timeout`` the "Schedule Policy
Extension" of the Triton Inference Server (docs/protocol).

Shape legend: n pictures, s pixels a side, k classes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from app.answers import Answer
from app.inference_schemas import (
    FlatData,
    InferenceRequest,
    InputTensor,
    NestedData,
    RequestedOutput,
    RequestParameters,
)

VERSION = "1"
"""The only version that a model has: an ensemble never changes."""

INPUT = "images"
OUTPUTS: Mapping[str, tuple[str, str]] = {
    "probabilities": ("FP32", "<f4"),
    "entropy": ("FP32", "<f4"),
    "members_used": ("INT32", "<i4"),
}
"""The protocol's and numpy's name of each output's data type; binary tensors are little-endian."""

MOST_JSON_BYTES_PER_VALUE = 8
"""``255,`` takes four, spaces and brackets some more. What is longer is refused before it is
parsed, since a list that holds nothing takes thirty times the memory of its two brackets."""


class InvalidInference(ValueError):
    """A request that is not of the protocol, or not what this service can answer; says why."""


@dataclass(frozen=True)
class Inference:
    """What an inference request asks for.

    Attributes:
        id: to be sent back; none if there was none.
        images: uint8 [n, s, s, 3], not writeable.
        outputs: which outputs to send, in this order, and whether as binary data.
        mode: one of ``models.answering.MODES``; none if the client leaves it to the service.
        timeout_seconds: to be answered within; none if the client leaves it to the service.
    """

    id: str | None
    images: npt.NDArray[np.uint8]
    outputs: Mapping[str, bool]
    mode: str | None
    timeout_seconds: float | None


def read_inference(body: bytes, json_bytes: str | None, size: int, max_pictures: int) -> Inference:
    """Return what a request asks for.

    Nothing is allocated because a client claims a size: what is claimed is compared with what came.

    Args:
        body: JSON, and binary tensors after it.
        json_bytes: the header ``Inference-Header-Content-Length``; none where all is JSON.
        size: s.
        max_pictures: the largest n.

    Raises:
        InvalidInference: it is malformed, or asks for what there is not.
    """
    length = len(body) if json_bytes is None else _length(json_bytes, len(body))
    most = 2**16 + MOST_JSON_BYTES_PER_VALUE * max_pictures * size * size * 3
    if length > most:
        raise InvalidInference(f"the JSON has {length} bytes and may have {most}; send binary data")
    try:
        request = InferenceRequest.model_validate_json(body[:length])
    except ValidationError as error:
        raise InvalidInference(_explain(error)) from error
    parameters = request.parameters or RequestParameters()
    (sent,) = request.inputs
    n = sent.shape[0] if sent.shape else 0
    if sent.shape != [n, size, size, 3] or not 1 <= n <= max_pictures:
        wanted = f"[n, {size}, {size}, 3] with n from 1 to {max_pictures}"
        raise InvalidInference(f"{INPUT} has the shape {sent.shape}, and must have {wanted}")
    pixels = np.frombuffer(_pixels(sent, memoryview(body)[length:]), np.uint8)
    return Inference(
        id=request.id,
        images=pixels.reshape(sent.shape),
        outputs=_wanted(request.outputs, binary=bool(parameters.binary_data_output)),
        mode=parameters.mode,
        timeout_seconds=parameters.timeout / 1e6 if parameters.timeout else None,
    )


def _length(json_bytes: str, body_bytes: int) -> int:
    if not (json_bytes.isascii() and json_bytes.isdigit() and len(json_bytes) <= 19):
        raise InvalidInference("Inference-Header-Content-Length must be a number of bytes")
    if int(json_bytes) > body_bytes:
        reason = f"is {int(json_bytes)}, and the body has {body_bytes} bytes"
        raise InvalidInference(f"Inference-Header-Content-Length {reason}")
    return int(json_bytes)


def _pixels(sent: InputTensor, binary: memoryview) -> bytes | memoryview:
    expected = prod(sent.shape)
    declared = sent.parameters.binary_data_size if sent.parameters else None
    if (declared is None) == (sent.data is None):
        raise InvalidInference(f"{INPUT} must have either data or a binary_data_size")
    if sent.data is not None:
        if binary:
            raise InvalidInference(f"{len(binary)} bytes after the JSON belong to no input")
        return _flatten(sent.data, sent.shape)
    if declared != expected:
        reason = f"a binary_data_size of {declared} bytes, and its shape takes {expected}"
        raise InvalidInference(f"{INPUT} has {reason}")
    if len(binary) != declared:
        reason = f"{len(binary)} bytes, and binary_data_size says {declared}"
        raise InvalidInference(f"after the JSON come {reason}")
    return binary


def _flatten(data: FlatData | NestedData, shape: Sequence[int]) -> bytes:
    values: list[Any] = data.root
    for length in shape[1:] if isinstance(data, NestedData) else ():
        if any(len(part) != length for part in values):
            raise InvalidInference(f"the data of {INPUT} is not nested as its shape says")
        values = list(chain.from_iterable(values))
    if len(values) != prod(shape):
        reason = f"{len(values)} values, and its shape takes {prod(shape)}"
        raise InvalidInference(f"the data of {INPUT} has {reason}")
    return bytes(values)


def _wanted(outputs: Sequence[RequestedOutput] | None, *, binary: bool) -> Mapping[str, bool]:
    if not outputs:
        return dict.fromkeys(OUTPUTS, binary)
    wanted: dict[str, bool] = {}
    for output in outputs:
        if output.name in wanted:
            raise InvalidInference(f"the output {output.name} is asked for twice")
        own = output.parameters.binary_data if output.parameters else None
        wanted[output.name] = binary if own is None else own
    return wanted


def _explain(error: ValidationError) -> str:
    reasons: dict[str, str] = {}
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        place = found["loc"]
        field, reason = ".".join(map(str, place)), found["msg"]
        if "data" in place:  # it is neither flat nor nested, and why not fills many lines
            field = ".".join(map(str, place[: place.index("data") + 1]))
            reason = "must be whole numbers from 0 to 255, flat or nested as the shape says"
        elif found["type"] == "none_required":
            reason = "is not supported here"
        reasons.setdefault(field, reason)
    return "; ".join(f"{field}: {reason}" if field else reason for field, reason in reasons.items())


def write_inference(
    model: str, inference: Inference, answers: Sequence[Answer], about: Mapping[str, str | int]
) -> tuple[bytes, int | None]:
    """Return the body that answers a request, and the bytes of its JSON if binary data follows.

    Args:
        model: name that the client asked for.
        inference: what was asked.
        answers: n.
        about: further parameters of the answer.
    """
    columns: Mapping[str, Sequence[Any]] = {
        "probabilities": [answer.probabilities for answer in answers],  # [n, k]
        "entropy": [answer.uncertainty[0] for answer in answers],  # [n]
        "members_used": [answer.members_used for answer in answers],  # [n]
    }
    outputs, binaries = [], []
    for name, binary in inference.outputs.items():
        datatype, dtype = OUTPUTS[name]
        values = np.array(columns[name], dtype)
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": values.shape}
        if binary:
            output["parameters"] = {"binary_data_size": values.nbytes}
            binaries.append(values.tobytes())
        else:
            output["data"] = values.ravel().tolist()
        outputs.append(output)
    told: dict[str, Any] = {"model_name": model, "model_version": VERSION}
    if inference.id is not None:
        told["id"] = inference.id
    text = json.dumps({**told, "parameters": dict(about), "outputs": outputs}).encode()
    return b"".join([text, *binaries]), len(text) if binaries else None
