"""The members in OpenVINO, Intel's runtime for CPUs of every make.

Two ways through the same members. Few pictures go through all members at once, as one network with
grouped convolutions: its layers are wide enough for all cores. Many pictures go through one member
after the other, each member on one core and as many at once as there are cores: no core waits for
another, and single members can be asked for. Where the one overtakes the other is measured when
the engine is built.
"""

import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch import Tensor

from models.ensemble import Ensemble, EnsembleManifest
from models.folding import fold
from models.openvino_graph import build_graph
from models.resnet import ResNet, build_network, stack

_SIZES = (1, 2, 4, 8, 16)
"""Batch sizes at which the two ways race."""

_Pixels = npt.NDArray[np.uint8]


class OpenVinoEngine:
    """Answers in one precision.

    Args:
        name: what it is called.
        ensemble: whose members answer.
        precision: ``float32``, ``bfloat16`` or ``int8``.
        threads: cores it may use.
        largest: for int8, from ``models.quantisation.measure_largest``.
    """

    def __init__(
        self,
        name: str,
        ensemble: Ensemble,
        precision: str,
        threads: int,
        largest: Mapping[str, float],
    ) -> None:
        manifest = ensemble.manifest
        self.name = name
        self.members = len(ensemble.members)
        self.stride = threads
        self._classes = len(manifest.classes)
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads - 1, "member") if threads > 1 else None
        quantised = largest if precision == "int8" else None

        def compiled(network: ResNet, threads: int) -> ov.InferRequest:
            graph = build_graph(fold(network), manifest.normalisation, manifest.size, quantised)
            options = _options(precision, threads)
            return _core().compile_model(graph, "CPU", options).create_infer_request()

        members = ensemble.networks
        self._fused = compiled(_side_by_side(members, manifest), threads)
        self._each = [compiled(member, 1) for member in members] if self.members > 1 else []
        self.fused_up_to = self._race(manifest.size)

    def __call__(self, images: Tensor, members: range | None = None) -> Tensor:
        """Return the softmax of the members asked for; see ``models.engine.Engine``."""
        pixels = images.numpy()
        asked = range(self.members) if members is None else members
        if len(asked) == self.members and len(images) <= self.fused_up_to:
            return torch.from_numpy(self._at_once(pixels))
        return torch.from_numpy(self._one_by_one(pixels, asked))

    def _at_once(self, pixels: _Pixels) -> npt.NDArray[np.float32]:
        answers: npt.NDArray[np.float32] = self._fused.infer([pixels])[0]
        return answers  # a copy, which the next call leaves alone

    def _one_by_one(self, pixels: _Pixels, members: range) -> npt.NDArray[np.float32]:
        answers = np.empty((len(members), len(pixels), self._classes), np.float32)

        places = iter(range(len(members)))  # who is done first takes the next

        def ask() -> None:
            for place in places:
                request = self._each[members[place]]
                answers[place] = request.infer([pixels], share_outputs=True)[0][0]

        # The calling thread works too: one fewer to wake.
        busy = min(self._threads, len(members)) - 1
        others = [self._pool.submit(ask) for _ in range(busy)] if self._pool else []
        ask()
        for other in others:
            other.result()
        return answers

    def _race(self, size: int) -> float:
        """Return the largest batch for which all members at once are faster."""
        if self.members == 1:
            return math.inf
        everyone, fastest = range(self.members), 0
        for n in _SIZES:
            pixels = np.zeros((n, size, size, 3), np.uint8)
            at_once = _seconds(partial(self._at_once, pixels))
            if at_once > _seconds(partial(self._one_by_one, pixels, everyone)):
                break
            fastest = n
        return fastest


def _side_by_side(members: list[ResNet], manifest: EnsembleManifest) -> ResNet:
    with torch.random.fork_rng(devices=[]):
        network = build_network(manifest.network, len(manifest.classes), len(members))
    network.load_state_dict(stack([member.state_dict() for member in members]))
    return network.eval()


@cache
def _core() -> ov.Core:
    return ov.Core()  # looks for plugins: once is enough


def _options(precision: str, threads: int) -> dict[str, object]:
    return {
        # int8 is in the graph; what it leaves out stays in full precision.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # the event loop and decoders share the cores
    }


def _seconds(ask: Callable[[], object]) -> float:
    ask()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        ask()
        times.append(time.perf_counter() - started)
    return min(times)
