"""Whether an ensemble from elsewhere is one: of what its files hold, nothing is taken on trust."""

import math
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import Any

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
            report = manifest.report.file
            _check_report(read(report), report, len(manifest.classes))
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
        for split, found in manifest.metrics.items():
            _need(f"metrics.{split}", found is None or _is_metrics(found))
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


def _is_whole(value: object, below: float = math.inf) -> bool:
    return isinstance(value, int) and 0 <= value < below


def _are_numbers(values: object, *needed: str) -> bool:
    """Say whether this is an object of numbers, with those that are needed among them."""
    return (
        isinstance(values, dict)
        and values.keys() >= set(needed)
        and all(map(_is_number, values.values()))
    )


def _are_rows(rows: object, *needed: str) -> bool:
    return isinstance(rows, list) and all(_are_numbers(row, *needed) for row in rows)


def _is_metrics(found: Any) -> bool:
    """Say whether this is what ``training/metrics.py`` tells of a split, or part of it."""
    return (
        isinstance(found, dict)
        and _are_numbers(found.get("pooled"), "accuracy")
        and all(_are_numbers(found.get(name, {})) for name in ("members_mean", "calibrated"))
        and _are_numbers(found.get("diversity", {}))
        and _are_rows(found.get("members", []), "accuracy")
        and _are_rows(found.get("by_members", []), "members", "accuracy")
    )


def _check_report(data: bytes, file: str, classes: int) -> None:
    try:
        report = parse_strictly(data)
        _need("curves", isinstance(report.get("curves", {}), dict))
        for split, found in report.get("splits", {}).items():
            _need(f"splits.{split}", _is_split_report(found, classes))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        reason = f"a field is missing or malformed: {error}"
        raise InvalidArchive(f"{file}: {reason}") from error


def _is_split_report(found: Any, classes: int) -> bool:
    """Say whether this is what ``training/report.py`` tells of a split, or part of it."""
    bins, confusion = found.get("reliability", {}), found.get("confusion")
    accuracies = found.get("class_accuracy", {}).values()
    return (
        all(each is None or _is_number(each) for each in accuracies)
        and (not bins or bins.keys() >= {"pooled", "calibrated"})
        and all(_is_bin(each) for row in bins.values() for each in row)
        and (confusion is None or _is_confusion(confusion))
        and all(
            _is_whole(each["true"], classes)
            and _is_whole(each["predicted"], classes)
            and _is_whole(each["count"])
            for each in found.get("confusions", [])
        )
    )


def _is_bin(found: Any) -> bool:
    maybe = (found["confidence"], found["accuracy"])
    return (
        _is_number(found["low"])
        and all(value is None or _is_number(value) for value in maybe)
        and _is_whole(found["count"])
    )


def _is_confusion(found: Any) -> bool:
    names, counts = found["names"], found["counts"]
    return (
        isinstance(found["over"], str)
        and all(isinstance(name, str) for name in names)
        and len(counts) == len(names)
        and all(len(row) == len(names) and all(map(_is_whole, row)) for row in counts)
    )


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
