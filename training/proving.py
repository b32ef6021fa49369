"""Engines compared with the reference when an ensemble is published, on its validation pictures.

Member by member, so that memory does not grow with their number.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from models.cores import Cores
from models.engine import NAMES, REFERENCE, Engine, Unavailable, build_engine
from models.ensemble import Ensemble, EnsembleManifest
from models.proof import LEAST_PICTURES, objection, prove
from models.quantisation import largest_of, measure_largest
from models.resnet import ResNet, build_network
from training.datasets import Pictures

_log = logging.getLogger(__name__)

_BATCH = 64
_RANGE_PICTURES = 1000
"""Training pictures on which the ranges of 8-bit integers are measured."""

Weights = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True)
class Proven:
    """What publishing found out about engines; empty where it had too few pictures.

    Attributes:
        quantisation: the largest input of each convolution.
        proofs: by engine, a ``models.proof.Proof`` as JSON-ready data.
    """

    quantisation: dict[str, float]
    proofs: dict[str, dict[str, Any]]


def prove_engines(
    manifest: EnsembleManifest,
    weights: Weights,
    *,
    train: Pictures,
    validation: Pictures,
    reference: Tensor,
    check: Callable[[], None],
) -> Proven:
    """Let every engine that can be had here answer the validation pictures.

    Args:
        manifest: of the ensemble to be published.
        weights: state dict of each member, asked for one after the other, several times.
        train: pictures the members learned from.
        validation: pictures to compare on.
        reference: the members' log-probabilities for them, float32 [m, n, k].
        check: called between batches; ends the work by raising.
    """
    if len(validation) < LEAST_PICTURES:
        few = f"{len(validation)} validation pictures, fewer than {LEAST_PICTURES}"
        _log.info("engines are not compared: %s; full precision is to answer", few)
        return Proven({}, {})
    rows = torch.linspace(0, len(train) - 1, min(_RANGE_PICTURES, len(train))).long()
    pictures = manifest.normalisation(train.images.cpu()[rows])
    ranges = []
    for state in weights:
        check()
        ranges.append(measure_largest(_network(manifest, state), pictures))
    largest = largest_of(ranges)
    images = validation.images.permute(0, 2, 3, 1).contiguous()
    proofs = {}
    for name in NAMES:
        if name == REFERENCE:
            continue
        answers: list[Tensor] = []
        for state in weights:
            alone = Ensemble(manifest, [_network(manifest, state)])
            engine = build_engine(name, alone, Cores(torch.get_num_threads()), largest)
            if isinstance(engine, Unavailable):
                _log.warning("%s is not compared: %s", name, engine.reason)
                break
            answers.append(_ask(engine, images, check))
        else:
            found = prove(torch.cat(answers), reference.exp(), validation.labels)
            proofs[name] = asdict(found)
            _log.info("%s: %s; %s", name, found, objection(name, found) or "may answer")
    return Proven(largest, proofs)


def _ask(engine: Engine, images: Tensor, check: Callable[[], None]) -> Tensor:
    answers = []
    for start in range(0, len(images), _BATCH):
        check()
        answers.append(engine(images[start : start + _BATCH]))
    return torch.cat(answers, dim=1)


def _network(manifest: EnsembleManifest, state: Mapping[str, Tensor]) -> ResNet:
    with torch.device("meta"):  # draws nothing, for another thread may be drawing initial weights
        network = build_network(manifest.network, len(manifest.classes))
    network.load_state_dict(dict(state), assign=True)
    return network.eval().requires_grad_(False)
