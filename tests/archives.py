"""Archives of ensembles, and what becomes of them in hostile hands."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.archives import read_archive
from models.ensemble import EnsembleManifest
from models.store import MANIFEST, Store
from tests.tiny import publish

REPORT = {"curves": {"member 0": [{"epoch": 1}]}, "splits": {}}

Files = dict[str, bytes]
"""What is in an archive, by name."""


def reported(store: Store, **changes: Any) -> EnsembleManifest:
    """Publish an ensemble with predictions and a report."""
    first = publish(store, **changes)
    weights = [dict(member.state_dict()) for member in store.load(first.id).members]
    predictions = {"validation": store.predictions(first.id, "validation")}
    store.files.delete(f"ensembles/{first.id}")
    return store.publish(replace(first, id=""), weights, predictions, REPORT)


def archived(store: Store, id_: str) -> bytes:
    """Return an ensemble's archive."""
    return b"".join(read_archive(store, id_))


def folder_of(store: Store, id_: str) -> Files:
    """Return the files of an ensemble as they are in a local store."""
    folder = Path(store.files.path(f"ensembles/{id_}"))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def unzip(data: bytes) -> Files:
    """Return what is in an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Return an archive of files."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def with_manifest(files: Files, **changes: Any) -> Files:
    """Return the files with other fields in their manifest."""
    manifest = json.loads(files[MANIFEST]) | changes
    return files | {MANIFEST: json.dumps(manifest).encode()}


def vouched(files: Files, name: str, data: bytes) -> Files:
    """Return the files with another one in a name's place, which the manifest vouches for."""
    manifest = json.loads(files[MANIFEST])
    records = [*manifest["members"], manifest["report"], *manifest["predictions"].values()]
    for record in records:
        if record and record["file"] == name:
            record |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return files | {name: data, MANIFEST: json.dumps(manifest).encode()}
