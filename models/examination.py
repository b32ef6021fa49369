"""Whether an ensemble from elsewhere is one: of what its files hold, nothing is taken on trust."""

import math
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from models.artefacts import fill_network, parse_strictly
from models.doubt import Doubt, doubt_from_dict
from models.engine import NAMES
from models.ensemble import Ensemble, EnsembleManifest
from models.errors import CorruptArtefact, InvalidArchive
from models.proof import Proof, probe
from models.resnet import build_network

LARGEST_SIZE = 128
"""Pixels a side of what a network may take."""

Read = Callable[[str], bytes]


def check_contents(manifest: EnsembleManifest, read: Read) -> None:
    """Refuse an ensemble that this version could not have published.

    Args:
        manifest: of it.
        read: returns the bytes of one of its files, which are as long as the manifest says.

    Raises:
        InvalidArchive: naming the field or the file.
    """
    try:
        _check_fields(manifest)
        if manifest.report:
            _check_report(read(manifest.report.file), manifest.report.file)
        _check_networks(manifest, read)
        for record in manifest.predictions.values():
            _check_predictions(manifest, read(record.file), record.file)
    except CorruptArtefact as error:
        raise InvalidArchive(str(error)) from error


def _check_fields(manifest: EnsembleManifest) -> None:
    """Check what is computed with later; whoever built the manifest has checked the rest."""
    try:
        if manifest.doubt is not None:
            _check_doubt(doubt_from_dict(manifest.doubt, "manifest.json"), len(manifest.members))
        for name, proof in manifest.proofs.items():
            values = [getattr(Proof(**proof), field.name) for field in fields(Proof)]
            _need(f"proofs.{name}", name in NAMES and all(map(_is_number, values)))
        for name, largest in manifest.quantisation.items():
            _need(f"quantisation.{name}", _is_number(largest) and 0 <= largest < 1e6)
        created_at = datetime.fromisoformat(manifest.created_at)
        counted = manifest.metrics["validation"]["pictures"]
        accuracy = manifest.metrics["validation"]["pooled"]["accuracy"]
        held_out = manifest.recipe.get("validation_fraction", 0.0)
        texts = [manifest.name, *manifest.teachers, manifest.dataset["name"]]
        texts += [manifest.dataset["digest"], *manifest.dataset.values()]
        _need("created_at", created_at.tzinfo is not None)
        _need("metrics.validation", isinstance(counted, int) and 0 <= accuracy <= 1)
        _need("recipe.validation_fraction", _is_number(held_out))
        _need("name, teachers and dataset", all(isinstance(text, str) for text in texts))
        _need("classes", len(set(manifest.classes)) == len(manifest.classes))
        _need("size", 8 <= manifest.size <= LARGEST_SIZE)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"a field is missing or malformed: {error}"
        raise InvalidArchive(f"manifest.json: {reason}") from error


def _check_doubt(doubt: Doubt, members: int) -> None:
    if doubt.cascade is not None:
        _need("doubt.cascade.thresholds", len(doubt.cascade.thresholds) == members - 1)


def _need(field: str, fine: bool) -> None:
    if not fine:
        raise ValueError(field)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _check_report(data: bytes, file: str) -> None:
    try:
        parse_strictly(data)
    except ValueError as error:
        raise InvalidArchive(f"{file}: {error}") from error


def _check_networks(manifest: EnsembleManifest, read: Read) -> None:
    """Fill the networks, and have them answer pictures once."""
    name, classes = manifest.network, len(manifest.classes)
    # Before one is built, which takes memory: a name and a list are soon written.
    with torch.device("meta"):
        tensors = build_network(name, classes).state_dict().values()
    needed = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    for member in manifest.members:
        if member.bytes < needed:
            reason = f"a {name} of {classes:,} classes has {needed:,}"
            raise InvalidArchive(f"{member.file}: {member.bytes:,} bytes; {reason}")
        found = _read_tensors(read(member.file), member.file)
        # One at a time: all of them need not fit.
        alone = Ensemble(manifest, [fill_network(found, name, classes, member.file)])
        answer = alone(probe(manifest.size).permute(0, 3, 1, 2))
        if not answer.isfinite().all():
            raise InvalidArchive(f"{member.file}: it answers with what is no probability")


def _check_predictions(manifest: EnsembleManifest, data: bytes, file: str) -> None:
    found = _read_tensors(data, file)
    if found.keys() != {"log_probabilities"}:
        raise InvalidArchive(f"{file}: holds {sorted(found)}, not log_probabilities")
    tensor = found["log_probabilities"]
    members, classes = len(manifest.members), len(manifest.classes)
    fits = tensor.ndim == 3 and (len(tensor), tensor.shape[-1]) == (members, classes)
    if not (fits and tensor.dtype == torch.float32):
        found_shape = f"{tensor.dtype} {list(tensor.shape)}"
        raise InvalidArchive(
            f"{file}: is {found_shape}, not torch.float32 [{members}, n, {classes}]"
        )
    if tensor.isnan().any():
        raise InvalidArchive(f"{file}: holds what is no number")


def _read_tensors(data: bytes, file: str) -> dict[str, Tensor]:
    try:
        return load(data)
    # Beyond its own error: a type that PyTorch lacks, a shape that does not fit its bytes.
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise InvalidArchive(f"{file}: no safetensors file: {error}") from error
