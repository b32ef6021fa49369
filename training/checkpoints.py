"""Checkpoints: all that a network in training needs to go on exactly where it stopped."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from models.artefacts import FileRecord, read_json, read_tensors, write_json, write_tensors
from models.errors import CorruptArtefact
from models.files import Files
from models.resnet import ResNet, stack, unstack
from training.fencing import Fence
from training.progress import EpochDone, Part

KEPT = 2
"""Checkpoints kept of each network: should the newest be damaged, there is the one before."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A network after an epoch.

    Attributes:
        weights: its state dict.
        momentum: the optimiser's buffer of each parameter, by the parameter's name.
        curve: what every epoch so far reported.
    """

    weights: Mapping[str, Tensor]
    momentum: Mapping[str, Tensor]
    curve: tuple[EpochDone, ...]


class Checkpoints:
    """The checkpoints of one network of one run.

    Order, augmentation and learning rate follow from the recipe's seed and the number of the
    epoch, so weights, momentum and the epoch are the whole state.

    Args:
        files: the store.
        folder: of this network's run.
        fence: of the process that writes; none for one that reads, or is alone.
    """

    def __init__(self, files: Files, folder: str, fence: Fence | None = None) -> None:
        self._files = files
        self._folder = folder
        self._fence = fence

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; it exists when its JSON does, and replaces older ones.

        Raises:
            StoreFull: no space left; the checkpoints before are untouched.
            LeaseLost: another process has taken the network over.
        """
        name = _name(len(checkpoint.curve))
        if self._fence:
            self._fence.check()
            name = f"{name}.{self._fence.name}"
        tensors = {f"weights.{key}": tensor for key, tensor in checkpoint.weights.items()}
        tensors |= {f"momentum.{key}": tensor for key, tensor in checkpoint.momentum.items()}
        record = write_tensors(self._files, self._folder, f"{name}.safetensors", tensors)
        curve = [epoch_to_dict(epoch) for epoch in checkpoint.curve]
        manifest = {"tensors": asdict(record), "curve": curve}
        write_json(self._files, f"{self._folder}/{name}.json", manifest)
        # By epochs and not by files: one that was done twice is one, or nothing would be left that
        # networks side by side have in common.
        kept = sorted({_epoch(name) for name in self._names()})[-KEPT:]
        for outdated in (name for name in self._names() if _epoch(name) not in kept):
            self._files.delete(f"{self._folder}/{outdated}.json")
            self._files.delete(f"{self._folder}/{outdated}.safetensors")

    def latest(self, part: Part, at_most: int | None = None) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, or none.

        Args:
            part: the network it is of, to name it in the curve.
            at_most: no newer one than that of this epoch.
        """
        for name in reversed(self._names()):
            if at_most is not None and _epoch(name) > _name(at_most):
                continue
            try:
                manifest = read_json(self._files, f"{self._folder}/{name}.json")
                record = FileRecord(**manifest["tensors"])
                tensors = read_tensors(self._files, self._folder, record)
                curve = tuple(EpochDone(part=part, **epoch) for epoch in manifest["curve"])
            except (CorruptArtefact, KeyError, TypeError) as error:
                told = "damaged checkpoint of %s, using the one before: %s"
                _log.warning(told, part, error, extra={"part": str(part)})
                continue
            return Checkpoint(_with(tensors, "weights."), _with(tensors, "momentum."), curve)
        return None

    def _names(self) -> list[str]:
        listed = self._files.list(self._folder)
        return [name.removesuffix(".json") for name in listed if name.endswith(".json")]


def _name(epoch: int) -> str:
    return f"epoch-{epoch:05d}"


def _epoch(name: str) -> str:
    return name.partition(".")[0]  # behind it is the fence that it was written under


def _with(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}


def epoch_to_dict(epoch: EpochDone) -> dict[str, Any]:
    """Return an epoch as JSON-ready data, without the part, which its folder names."""
    return {key: value for key, value in asdict(epoch).items() if key != "part"}


def common_checkpoint(
    checkpoints: Sequence[Checkpoints], parts: Sequence[Part]
) -> list[Checkpoint] | None:
    """Return the newest checkpoints of networks side by side that are of the same epoch, or none.

    A run that ends while they are being written leaves some one epoch ahead of the others.
    """
    found = [of.latest(part) for of, part in zip(checkpoints, parts, strict=True)]
    epoch = min(0 if one is None else len(one.curve) for one in found)
    if epoch == 0:
        return None
    common = []
    for of, part, newest in zip(checkpoints, parts, found, strict=True):
        one = newest
        if newest is None or len(newest.curve) > epoch:
            one = of.latest(part, at_most=epoch)
        if one is None or len(one.curve) != epoch:
            _log.warning("no epoch that %d networks all have; they begin anew", len(parts))
            return None
        common.append(one)
    return common


Optimisers = Sequence[tuple[Optimizer, float]]
"""Optimisers, each with its learning rate at the peak."""


def momentum_of(optimisers: Optimisers, network: ResNet) -> list[dict[str, Tensor]]:
    """Return each member's momentum by the name of its parameter; none before the first step."""
    buffers = {
        name: optimiser.state[parameter]["momentum_buffer"]
        for name, parameter in network.named_parameters()
        for optimiser, _ in optimisers
        if "momentum_buffer" in optimiser.state.get(parameter, {})
    }
    return unstack(buffers, network.members)


def restore(checkpoints: Sequence[Checkpoint], network: ResNet, optimisers: Optimisers) -> None:
    """Put weights and momentum of members side by side back."""
    network.load_state_dict(stack([one.weights for one in checkpoints]))
    momentum = stack([one.momentum for one in checkpoints])
    parameters = dict(network.named_parameters())
    for optimiser, _ in optimisers:
        moved = {id(p) for group in optimiser.param_groups for p in group["params"]}
        for name, buffer in momentum.items():
            if id(parameter := parameters[name]) in moved:
                # Same memory layout as the parameter's, or the fused step would add crosswise.
                here = torch.empty_like(parameter).copy_(buffer)
                optimiser.state[parameter]["momentum_buffer"] = here
