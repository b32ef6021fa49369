"""The ensemble: its manifest, and its members together as one network.

Shape legend: m members, n pictures, s pixels a side, k classes.
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from models.artefacts import FileRecord
from models.errors import CorruptArtefact
from models.names import is_network
from models.resnet import ResNet

FORMAT = 3
"""Version of the manifest; a reader refuses one it does not know."""

_READABLE = (2, FORMAT)
"""Format 2 knew neither engines nor doubt, which are optional."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each colour channel, on a scale from 0 to 1."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: Tensor) -> Tensor:
        """Turn uint8 pictures [n, 3, s, s] into the float input of a network, same shape."""
        mean = torch.tensor(self.mean, device=images.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, 3, 1, 1)
        # channels_last is the layout in which convolutions run fastest, on CPUs and on GPUs.
        pictures = images.to(torch.float32, memory_format=torch.channels_last)
        return pictures.div_(255).sub_(mean).div_(std)


@dataclass(frozen=True)
class EnsembleManifest:
    """What there is to know about an ensemble without loading it.

    Attributes:
        id: its name in the store and in every answer.
        name: what its recipe called it.
        network: network of every member.
        classes: class names in id order.
        size: height and width of the pictures it was trained on, in pixels.
        normalisation: of its input.
        members: weights of each member.
        temperature: divides the log of the averaged probabilities before the calibrated softmax.
        recipe: the recipe as JSON-ready data.
        dataset: name and digest of the data set.
        teachers: digest or id of each teacher; none for a plain ensemble.
        metrics: on validation and, where there is one, on test.
        predictions: saved log-probabilities of every member by split, [m, n, k] in each file.
        report: learning curves, reliability and confusion, as JSON.
        created_at: ISO 8601, UTC.
        quantisation: largest input of each convolution, for engines in 8-bit integers.
        proofs: by engine, how close it came to the reference (``models.proof.Proof``).
        doubt: conformal sets, the cascade and what counts as outside (``models.doubt``).
    """

    id: str
    name: str
    network: str
    classes: tuple[str, ...]
    size: int
    normalisation: Normalisation
    members: tuple[FileRecord, ...]
    temperature: float
    recipe: dict[str, Any]
    dataset: dict[str, str]
    teachers: tuple[str, ...]
    metrics: dict[str, Any]
    created_at: str
    predictions: dict[str, FileRecord] = field(default_factory=dict)
    report: FileRecord | None = None
    quantisation: dict[str, float] = field(default_factory=dict)
    proofs: dict[str, dict[str, Any]] = field(default_factory=dict)
    doubt: dict[str, Any] | None = None

    @property
    def bytes(self) -> int:
        """Size of all members' weights."""
        return sum(member.bytes for member in self.members)

    def to_dict(self) -> dict[str, Any]:
        """Return the manifest as JSON-ready data; ``manifest_from_dict`` is its inverse."""
        return {"format": FORMAT, **asdict(self)}


def manifest_from_dict(data: dict[str, Any], where: str) -> EnsembleManifest:
    """Build a manifest from what ``EnsembleManifest.to_dict`` returned.

    Args:
        data: read from a file.
        where: the file's path, for the error.

    Raises:
        CorruptArtefact: another format, or a field is missing.
    """
    if data.get("format") not in _READABLE:
        reason = f"format {data.get('format')!r}, this version reads {FORMAT}"
        raise CorruptArtefact(f"{where}: {reason}")
    values = {key: value for key, value in data.items() if key != "format"}
    try:
        values["classes"] = tuple(values["classes"])
        values["teachers"] = tuple(values["teachers"])
        values["normalisation"] = Normalisation(
            mean=tuple(values["normalisation"]["mean"]), std=tuple(values["normalisation"]["std"])
        )
        values["members"] = tuple(FileRecord(**member) for member in values["members"])
        values["predictions"] = {
            split: FileRecord(**record) for split, record in values["predictions"].items()
        }
        if values.get("report") is not None:
            values["report"] = FileRecord(**values["report"])
        manifest = EnsembleManifest(**values)
        _check(manifest)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise CorruptArtefact(f"{where}: a field is missing or malformed: {error}") from error
    return manifest


def _check(manifest: EnsembleManifest) -> None:
    # What answering relies on; a file edited by hand is to be refused when it is read.
    channels = (*manifest.normalisation.mean, *manifest.normalisation.std)
    pooled = manifest.metrics["validation"]["pooled"]["accuracy"]
    for name, fine in (
        ("network", is_network(manifest.network)),
        ("members", len(manifest.members) > 0),
        ("classes", len(manifest.classes) > 1 and {str} == {*map(type, manifest.classes)}),
        ("size", isinstance(manifest.size, int) and manifest.size > 0),
        ("normalisation", len(channels) == 6 and all(math.isfinite(value) for value in channels)),
        ("normalisation.std", min(manifest.normalisation.std) > 0),
        ("temperature", math.isfinite(manifest.temperature) and manifest.temperature > 0),
        ("metrics", math.isfinite(pooled)),
    ):
        if not fine:
            raise ValueError(name)


class Ensemble(nn.Module):
    """The members of an ensemble, which all answer the same pictures.

    Args:
        manifest: what it is.
        members: its networks, in the manifest's order.
    """

    def __init__(self, manifest: EnsembleManifest, members: list[ResNet]) -> None:
        super().__init__()
        self.manifest = manifest
        self.members = nn.ModuleList(members).to(memory_format=torch.channels_last).eval()

    @property
    def networks(self) -> list[ResNet]:
        """Return the members, typed."""
        return [member for member in self.members if isinstance(member, ResNet)]

    @torch.inference_mode()
    def forward(self, images: Tensor, max_members: int | None = None) -> Tensor:
        """Return the softmax of each member.

        Args:
            images: uint8 [n, 3, s, s].
            max_members: use only the first so many.

        Returns:
            float32 [m, n, k]; its mean over m is the answer of the ensemble.
        """
        pictures = self.manifest.normalisation(images)
        members = list(self.members)[:max_members]
        return torch.stack([member(pictures).softmax(dim=-1) for member in members])
