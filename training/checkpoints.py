"""Checkpoints: all that a network in training needs to go on exactly where it stopped."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from models.artefacts import FileRecord, read_json, read_tensors, write_json, write_tensors
from models.errors import CorruptArtefact
from models.files import Files
from training.progress import EpochDone, Part

KEPT = 2
"""Checkpoints kept of each network: should the newest be damaged, there is the one before."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A network after an epoch.

    Attributes:
        weights: its state dict.
        momentum: SGD's buffer of each parameter, by the parameter's name.
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
    """

    def __init__(self, files: Files, folder: str) -> None:
        self._files = files
        self._folder = folder

    def save(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint; it exists when its JSON does, and replaces older ones.

        Raises:
            StoreFull: no space left; the checkpoints before are untouched.
        """
        name = f"epoch-{len(checkpoint.curve):05d}"
        tensors = {f"weights.{key}": tensor for key, tensor in checkpoint.weights.items()}
        tensors |= {f"momentum.{key}": tensor for key, tensor in checkpoint.momentum.items()}
        record = write_tensors(self._files, self._folder, f"{name}.safetensors", tensors)
        curve = [epoch_to_dict(epoch) for epoch in checkpoint.curve]
        manifest = {"tensors": asdict(record), "curve": curve}
        write_json(self._files, f"{self._folder}/{name}.json", manifest)
        for outdated in self._names()[:-KEPT]:
            self._files.delete(f"{self._folder}/{outdated}.json")
            self._files.delete(f"{self._folder}/{outdated}.safetensors")

    def latest(self, part: Part) -> Checkpoint | None:
        """Return the newest checkpoint that is whole, or none.

        Args:
            part: the network it is of, to name it in the curve.
        """
        for name in reversed(self._names()):
            try:
                manifest = read_json(self._files, f"{self._folder}/{name}.json")
                record = FileRecord(**manifest["tensors"])
                tensors = read_tensors(self._files, self._folder, record)
                curve = tuple(EpochDone(part=part, **epoch) for epoch in manifest["curve"])
            except (CorruptArtefact, KeyError, TypeError) as error:
                _log.warning("damaged checkpoint of %s, using the one before: %s", part, error)
                continue
            return Checkpoint(_with(tensors, "weights."), _with(tensors, "momentum."), curve)
        return None

    def _names(self) -> list[str]:
        listed = self._files.list(self._folder)
        return [name.removesuffix(".json") for name in listed if name.endswith(".json")]


def _with(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}


def epoch_to_dict(epoch: EpochDone) -> dict[str, Any]:
    """Return an epoch as JSON-ready data, without the part, which its folder names."""
    return {key: value for key, value in asdict(epoch).items() if key != "part"}


def momentum_of(optimiser: torch.optim.SGD, network: torch.nn.Module) -> dict[str, Tensor]:
    """Return SGD's momentum buffers by the name of their parameter; none before the first step."""
    return {
        name: optimiser.state[parameter]["momentum_buffer"]
        for name, parameter in network.named_parameters()
        if optimiser.state[parameter].get("momentum_buffer") is not None
    }


def restore(checkpoint: Checkpoint, network: torch.nn.Module, optimiser: torch.optim.SGD) -> None:
    """Put a checkpoint's weights and momentum back."""
    network.load_state_dict(dict(checkpoint.weights))
    for name, parameter in network.named_parameters():
        if name in checkpoint.momentum:
            buffer = checkpoint.momentum[name].to(parameter.device)
            # Same memory layout as the parameter's, or the fused step would add crosswise.
            optimiser.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(
                buffer
            )
