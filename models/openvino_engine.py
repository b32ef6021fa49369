"""The members in OpenVINO, Intel's runtime for CPUs of every make.

Each core is a lane: it has all members' weights for itself, answers whole batches from the first
member to the last, and waits for no other. A call that is alone shares its pictures out over all
cores (``models/cores.py``); under load each call has one, and as many batches are under way as
there are cores. A few pictures, hardly worth sharing out, go through all members at once while that
is faster: as one network with grouped convolutions, whose layers are wide enough for all cores. Up
to how many is measured when the engine is built.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

import numpy as np
import numpy.typing as npt
import openvino as ov
import torch
from torch import Tensor

from models.cores import Cores
from models.engine import EIGHT
from models.ensemble import Ensemble, EnsembleManifest
from models.folding import fold
from models.openvino_graph import build_graph
from models.resnet import ResNet, build_network, stack

STRIDE = 2
"""Members that answer in one go where not all do: each go costs a tenth of a millisecond."""

TWO = 2
MOST_TWOS = 2
"""So many go before an eight with places left empty."""

_SIZES = (1, 2, 4, 8, 16)
"""Batch sizes at which the two ways race."""

_Pixels = npt.NDArray[np.uint8]
_Probabilities = npt.NDArray[np.float32]


class OpenVinoEngine:
    """Answers in one precision.

    Args:
        name: what it is called.
        ensemble: whose members answer.
        precision: ``float32``, ``bfloat16`` or ``int8``.
        cores: what it computes on.
        largest: for int8, from ``models.quantisation.measure_largest``.
        fused_up_to: up to how many pictures all members at once are faster; measured unless told.
    """

    stride = STRIDE

    def __init__(
        self,
        name: str,
        ensemble: Ensemble,
        precision: str,
        cores: Cores,
        largest: Mapping[str, float],
        *,
        fused_up_to: int | None = None,
    ) -> None:
        manifest = ensemble.manifest
        self.name = name
        self.members = len(ensemble.members)
        self.lanes = cores.count
        self._cores = cores
        self._classes = len(manifest.classes)
        quantised = largest if precision == "int8" else None

        def compiled(
            networks: Sequence[ResNet], threads: int, pictures: int = -1
        ) -> ov.InferRequest:
            shape = (pictures, manifest.size)
            graph = build_graph(networks, manifest.normalisation, shape, quantised)
            options = _options(precision, threads)
            return _core().compile_model(graph, "CPU", options).create_infer_request()

        def on_one_core(networks: Sequence[ResNet], pictures: int) -> _Graph:
            return _Graph(compiled(networks, 1, pictures))

        members = [fold(network) for network in ensemble.networks]
        with ThreadPoolExecutor(self.lanes) as builders:
            each = builders.map(lambda _: _Lane(members, on_one_core), range(self.lanes))
            self._lanes = list(each)
        self.fused_up_to = 0
        if self.lanes > 1:
            self._pool = ThreadPoolExecutor(self.lanes - 1, "lane")
            self._fused = compiled([fold(_side_by_side(ensemble.networks, manifest))], self.lanes)
            self.fused_up_to = self._race(manifest.size) if fused_up_to is None else fused_up_to

    def __call__(self, images: Tensor, members: range | None = None) -> Tensor:
        """Return the softmax of the members asked for; see ``models.engine.Engine``."""
        pixels = images.numpy()
        asked = range(self.members) if members is None else members
        fits = len(asked) == self.members and len(pixels) <= self.fused_up_to
        worth_it = -(-len(pixels) // EIGHT)  # to wake other threads for
        with self._cores.taken(self.lanes if fits else worth_it) as cores:
            if fits and len(cores) == self.lanes:
                return torch.from_numpy(self._at_once(pixels))
            return torch.from_numpy(self._shared_out(pixels, asked, cores[:worth_it]))

    def _at_once(self, pixels: _Pixels) -> _Probabilities:
        answers: _Probabilities = self._fused.infer([pixels])[0]
        return answers  # a copy, which the next call leaves alone

    def _shared_out(self, pixels: _Pixels, members: range, cores: Sequence[int]) -> _Probabilities:
        answers = np.empty((len(members), len(pixels), self._classes), np.float32)
        bounds = np.linspace(0, len(pixels), len(cores) + 1).astype(int)
        shares = [slice(*bounds[i : i + 2]) for i in range(len(cores))]

        def ask(core: int, share: slice) -> None:
            self._lanes[core].answer(pixels[share], members, answers[:, share])

        # The calling thread works too: one fewer to wake.
        others = [
            self._pool.submit(ask, core, share)
            for core, share in zip(cores[1:], shares[1:], strict=True)
        ]
        try:
            ask(cores[0], shares[0])
        finally:
            for other in others:
                other.result()  # no core is given back while it is still in use
        return answers

    def _race(self, size: int) -> int:
        """Return the largest batch for which all members at once are faster."""
        everyone, fastest = range(self.members), 0
        for n in _SIZES:
            pixels = np.zeros((n, size, size, 3), np.uint8)
            with self._cores.taken(self.lanes) as cores:
                at_once = _seconds(partial(self._at_once, pixels))
                few = cores[: -(-n // EIGHT)]
                shared_out = _seconds(partial(self._shared_out, pixels, everyone, few))
            if at_once > shared_out:
                break
            fastest = n
        return fastest


class _Graph:
    """Some members on one core, for always the same number of pictures.

    Its input and output stay where they are: what OpenVINO's wrapper does to take an array and hand
    one back, it does in Python, under the interpreter's lock.

    Args:
        request: of the compiled graph.
    """

    def __init__(self, request: ov.InferRequest) -> None:
        self._request = request
        self._pixels: _Pixels = request.get_input_tensor().data
        self._answers: _Probabilities = request.get_output_tensor().data

    def __call__(self, pixels: _Pixels) -> _Probabilities:
        """Return the members' softmax [m, n, k] for n pictures, which stands until the next call.

        Where these are fewer than its number, its other places keep what was there before.
        """
        self._pixels[: len(pixels)] = pixels
        self._request.infer(share_outputs=True)
        return self._answers[:, : len(pixels)]


class _Lane:
    """All members on one core.

    Every graph takes eight pictures or two, and never another number: one that takes any prepares
    each layer anew whenever the number changes, which is as much work as five pictures more. A
    place that is left empty costs what a picture would.

    Args:
        networks: the members.
        compiled: makes one graph of some of them, for so many pictures.
    """

    def __init__(
        self, networks: Sequence[ResNet], compiled: Callable[[Sequence[ResNet], int], _Graph]
    ) -> None:
        self._members = len(networks)
        # In one go, for the interpreter's lock is often taken.
        self._all = compiled(networks, EIGHT)
        runs = [networks[first : first + STRIDE] for first in range(0, self._members, STRIDE)]
        self._eights = [self._all] if len(runs) == 1 else [compiled(run, EIGHT) for run in runs]
        self._twos = [compiled(run, TWO) for run in runs]

    def answer(self, pixels: _Pixels, members: range, answers: _Probabilities) -> None:
        """Write the members' softmax.

        Args:
            pixels: [n, s, s, 3].
            members: those asked for.
            answers: [m, n, k], to write to.
        """
        # Five places and more are rather filled up to eight: three twos take as long.
        eights = (len(pixels) + EIGHT - MOST_TWOS * TWO - 1) // EIGHT
        first = 0
        while first < len(pixels):
            size, runs = (EIGHT, self._eights) if eights else (TWO, self._twos)
            part = slice(first, min(first + size, len(pixels)))
            if eights and len(members) == self._members:
                answers[:, part] = self._all(pixels[part])
            else:
                _answer_some(runs, pixels[part], members, answers[:, part])
            first, eights = part.stop, max(0, eights - 1)


def _answer_some(
    runs: Sequence[_Graph], pixels: _Pixels, members: range, answers: _Probabilities
) -> None:
    """Write the softmax of some members, of which each run answers ``STRIDE``."""
    for number in range(members.start // STRIDE, -(-members.stop // STRIDE)):
        start = number * STRIDE
        first, last = max(start, members.start), min(start + STRIDE, members.stop)
        found = runs[number](pixels)[first - start : last - start]
        answers[first - members.start : last - members.start] = found


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
