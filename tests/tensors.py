"""Requests of the Open Inference Protocol: for tiny pictures by hand, else by Triton's client."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from app.inference_protocol import Inference, read_inference

Images = npt.NDArray[np.uint8]

SIZE = 4
MAX_PICTURES = 3
IMAGES = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
BYTES = IMAGES.nbytes


def input_of(**changes: Any) -> dict[str, Any]:
    """Return the two pictures as a flat JSON tensor; a change to none leaves the field out."""
    tensor = {
        "name": "images",
        "datatype": "UINT8",
        "shape": list(IMAGES.shape),
        "data": IMAGES.ravel().tolist(),
        **changes,
    }
    return {field: value for field, value in tensor.items() if value is not None}


def binary_input(size: Any = BYTES, **changes: Any) -> dict[str, Any]:
    """Return the two pictures as a tensor whose data comes after the JSON."""
    return input_of(**{"data": None, "parameters": {"binary_data_size": size}, **changes})


def read(request: Any, binary: bytes | None = None, length: str | None = None) -> Inference:
    """Read a request of JSON, and of binary data after it if there is any."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    if binary is not None and length is None:
        length = str(len(body))
    return read_inference(body + (binary or b""), length, SIZE, MAX_PICTURES)


def images(n: int, seed: int = 0) -> Images:
    """Return pictures of noise, uint8 [n, 32, 32, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def tensor(pictures: Images, *, binary: bool = True) -> triton.InferInput:
    """Return pictures as Triton's client takes them."""
    sent = triton.InferInput("images", list(pictures.shape), "UINT8")
    return sent.set_data_from_numpy(pictures, binary_data=binary)


def stock_client(client: httpx.Client) -> triton.InferenceServerClient:
    """Return Triton's client of the same service, with room for 16 requests at once."""
    address = f"{client.base_url.host}:{client.base_url.port}"
    return triton.InferenceServerClient(address, concurrency=16)


def error_of(response: httpx.Response, status: int) -> str:
    """Check that a response tells an error as the protocol does, and return its text."""
    found = (response.status_code, response.headers["content-type"])
    assert found == (status, "application/json"), response.text
    assert response.json().keys() == {"error"}
    return str(response.json()["error"])


def told(ask: Callable[[], Any], status: int) -> str:
    """Return what Triton's client says when it is refused."""
    with pytest.raises(InferenceServerException) as refused:
        ask()
    assert refused.value.status() == str(status)
    return str(refused.value.message())
