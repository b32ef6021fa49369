"""Ensembles as they are told of, and taken in from elsewhere."""

from dataclasses import asdict
from typing import BinaryIO

from pydantic import ValidationError

from app.schemas import Engines, EnsembleDetail, EnsembleSummary
from models.archives import open_archive, take_in
from models.ensemble import EnsembleManifest
from models.errors import InvalidArchive
from models.store import Store


def summary_of(
    manifest: EnsembleManifest, serving: str | None, seconds: float | None = None
) -> EnsembleSummary:
    """Return an ensemble at a glance.

    Args:
        manifest: of the ensemble.
        serving: id of the one that serves.
        seconds: that it takes for 32 pictures here, if that was measured.
    """
    validation, test = manifest.metrics["validation"], manifest.metrics.get("test")
    calibrated = validation.get("calibrated", {})
    return EnsembleSummary(
        id=manifest.id,
        name=manifest.name,
        network=manifest.network,
        members=len(manifest.members),
        classes=len(manifest.classes),
        dataset=manifest.dataset,
        bytes=manifest.bytes,
        serving=manifest.id == serving,
        val_accuracy=validation["pooled"]["accuracy"],
        val_nll=calibrated.get("nll"),
        val_ece=calibrated.get("ece"),
        test_accuracy=test["pooled"]["accuracy"] if test else None,
        seconds=seconds,
        created_at=manifest.created_at,
    )


def detail_of(
    manifest: EnsembleManifest, serving: str | None, engines: Engines | None
) -> EnsembleDetail:
    """Return everything that is told of an ensemble."""
    fields = asdict(manifest)
    del fields["predictions"]
    is_serving = manifest.id == serving
    return EnsembleDetail(**fields, serving=is_serving, bytes=manifest.bytes, engines=engines)


def import_archive(file: BinaryIO, max_bytes: int, store: Store) -> tuple[EnsembleSummary, bool]:
    """Put the ensemble of an archive into the store; nothing is promoted.

    Args:
        file: the archive.
        max_bytes: of all its files together.
        store: where it goes.

    Returns:
        The ensemble, and whether it is new.

    Raises:
        InvalidArchive: it is no archive of an ensemble, or of one that could not be told of.
        Conflict: another ensemble has its id.
        StoreFull: no space left; the ensemble does not exist.
    """
    arrival = open_archive(file, max_bytes)
    try:
        detail_of(arrival.manifest, None, None)
        summary_of(arrival.manifest, None)
    except (ValidationError, LookupError, TypeError, AttributeError) as error:
        raise InvalidArchive(f"manifest.json: {_first_of(error)}") from error
    new = take_in(arrival, store)
    return summary_of(arrival.manifest, store.serving()), new


def _first_of(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return f"a field is missing or malformed: {error}"
