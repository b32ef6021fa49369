"""What a peer computes with: the loop that its users write, or our engine.

Shape legend: m members, n pictures, s pixels a side, k classes.
"""

import base64
import io
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from benchmarks.peers.options import Options
from models.choice import choose
from models.cores import Cores
from models.store import Store

Answer = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""Turns pictures, uint8 [n, s, s, 3], into averaged probabilities, float32 [n, k]."""


Precision = Literal["fp32", "bf16", "int8"]
PRECISIONS: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16", "int8": "int8"}


class Loaded(NamedTuple):
    """An engine, and the precision of its multiplications, which decides its arithmetic limit."""

    answer: Answer
    precision: Precision


def load_engine(options: Options) -> Answer:
    """Return what the peer was told to compute with."""
    if options.engine == "ours":
        return load_ours(options.store, options.ensemble, options.threads).answer
    return load_torch_loop(options.store, options.ensemble, options.threads).answer


def load_ours(store: str, id_: str, threads: int) -> Loaded:
    """Return the engine that answers by default in our service, on so many cores."""
    files = Store(store)
    engine = choose(files.load(id_), Cores(threads), files.files).default

    def answer(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        averaged: npt.NDArray[np.float32] = engine(torch.from_numpy(pictures)).mean(dim=0).numpy()
        return averaged

    return Loaded(answer, PRECISIONS[engine.name.split("-")[1]])


def load_torch_loop(store: str, id_: str, threads: int) -> Loaded:
    """Return the loop: fp32, eager, ``inference_mode``, one network after the other."""
    torch.set_num_threads(threads)
    ensemble = Store(store).load(id_)
    # The layout that torchvision's ToTensor gives and a network is built in.
    networks = [member.to(memory_format=torch.contiguous_format) for member in ensemble.members]
    normalisation = ensemble.manifest.normalisation
    mean = torch.tensor(normalisation.mean).view(1, 3, 1, 1)
    std = torch.tensor(normalisation.std).view(1, 3, 1, 1)

    @torch.inference_mode()
    def answer(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous().float() / 255
        images = (images - mean) / std
        outputs = [network(images).softmax(dim=1) for network in networks]
        averaged: npt.NDArray[np.float32] = torch.stack(outputs).mean(dim=0).numpy()
        return averaged

    return Loaded(answer, "fp32")


def decode(file: bytes, size: int = 32) -> npt.NDArray[np.uint8]:
    """Decode a picture as users do, uint8 [s, s, 3]."""
    image = Image.open(io.BytesIO(file)).convert("RGB")
    return np.array(image if image.size == (size, size) else image.resize((size, size)))


def decode_base64(text: str) -> npt.NDArray[np.uint8]:
    """Decode a picture that came inside JSON, uint8 [s, s, 3]."""
    return decode(base64.b64decode(text))


def as_json(probabilities: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Return the answer to one picture: what most users send back, and every probability."""
    best = int(probabilities.argmax())
    return {
        "class_id": best,
        "probability": float(probabilities[best]),
        "probabilities": probabilities.tolist(),
    }
