"""Engines: what computes the members' probabilities when pictures are answered.

An engine is a backend and a precision, such as ``openvino-int8``. All take and give the same; the
reference they are compared with is ``models.ensemble.Ensemble``.

Shape legend: m members, n pictures, s pixels a side, k classes.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from models.cores import Cores
from models.ensemble import Ensemble
from models.torch_engine import TorchEngine

ENGINE_VERSION = 2
"""Of the way engines are built; what was measured on one version says nothing about another."""

REFERENCE = "torch-float32"
"""The engine that computes just what the reference does."""

EXACT = ("openvino-float32", REFERENCE)
"""Engines in the precision of training, which need no proof but a look."""

REDUCED = ("openvino-int8", "openvino-bfloat16")
"""Engines that answer by default only where validation pictures prove them."""

NAMES = (*REDUCED, *EXACT)
"""All engines, the fastest first where a CPU has instructions for all precisions."""

EIGHT = 8
"""Pictures that an engine likes best; larger batches had better be a multiple of so many."""


class Engine(Protocol):
    """Answers pictures with some or all members of one ensemble.

    Attributes:
        name: one of ``NAMES``.
        members: how many there are, m.
        lanes: how many calls get on side by side; more wait for one another.
        stride: how many members it likes to be asked for at once, when not for all.
        fused_up_to: pictures that go through all members at once while so many are asked about.
    """

    name: str
    members: int
    lanes: int
    stride: int
    fused_up_to: int

    def __call__(self, images: Tensor, members: range | None = None) -> Tensor:
        """Return the softmax of the members asked for.

        A call that is alone has all cores; those that come meanwhile share them.

        Args:
            images: uint8 [n, s, s, 3], contiguous.
            members: a run of members; all unless given.

        Returns:
            float32 [m, n, k].
        """


@dataclass(frozen=True)
class Unavailable:
    """Why an engine cannot be had on this machine or for this ensemble."""

    name: str
    reason: str


def build_engine(
    name: str,
    ensemble: Ensemble,
    cores: Cores,
    largest: Mapping[str, float] | None = None,
    fused_up_to: int | None = None,
) -> "Engine | Unavailable":
    """Build one engine for an ensemble.

    Args:
        name: one of ``NAMES``.
        ensemble: whose members are to answer.
        cores: what it computes on.
        largest: for int8, what ``models.quantisation.measure_largest`` found.
        fused_up_to: of the same engine on such a machine; measured unless told.
    """
    backend, precision = name.split("-")
    if backend == "torch":
        return TorchEngine(ensemble, cores)
    if importlib.util.find_spec("openvino") is None:
        return Unavailable(name, "OpenVINO is not installed")
    if precision == "int8" and not largest:
        return Unavailable(name, "the ensemble was published without ranges for 8-bit integers")
    from models.openvino_engine import OpenVinoEngine  # noqa: PLC0415  # may not be installed

    return OpenVinoEngine(name, ensemble, precision, cores, largest or {}, fused_up_to=fused_up_to)
