"""An ensemble as one file: a zip that another store takes in bit for bit, or not at all.

::

    manifest.json              as it is in the store
    member-00.safetensors, …   stored, not deflated: weights do not become smaller
    report.json, …             whatever else the manifest vouches for

An archive may come from anybody. What is taken in could have been published here: every file is
what its manifest says, the weights are those of the network it names and answer with probabilities,
and whatever is computed with later is of its type.
"""

import hashlib
import io
import re
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from models.artefacts import FileRecord, check_bytes, parse_strictly, read_json
from models.ensemble import EnsembleManifest, manifest_from_dict
from models.errors import Conflict, CorruptArtefact, EnsembleNotFound, InvalidArchive
from models.examination import check_contents
from models.files import Files
from models.store import ID_PATTERN, MANIFEST, Store
from models.zips import ZipLimits, open_zip, read_entry

SUFFIX = ".zip"
"""Of a file that holds an ensemble; what is before it is the ensemble's id."""

RESERVED = {"serving"}
"""No ids: in paths these mean another ensemble."""

_MOST_FILES = 256
_DIRECTORY_BYTES = 2**18
_MANIFEST_BYTES = 16 * 2**20
_PIECE_BYTES = 2**20
_WRITTEN_AT = (
    1980,
    1,
    1,
    0,
    0,
    0,
)  # the same ensemble is the same archive, whenever it is asked for


def read_archive(store: Store, id_: str) -> Iterator[bytes]:
    """Return the archive of an ensemble, in pieces as they are wanted.

    Every file is checked now, so that what is damaged is told and not sent.

    Raises:
        EnsembleNotFound: there is none with this id.
        CorruptArtefact: a file is not what its manifest says.
    """
    manifest = store.manifest(id_)
    files, folder = store.locate(id_)
    for record in records_of(manifest):
        check_bytes(files, folder, record)
    return _pieces(files, folder, manifest)


def _pieces(files: Files, folder: str, manifest: EnsembleManifest) -> Iterator[bytes]:
    sink = _Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in (MANIFEST, *(record.file for record in records_of(manifest))):
            entry = zipfile.ZipInfo(name, _WRITTEN_AT)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, files.read(f"{folder}/{name}"))
            yield from sink.take()
    yield from sink.take()


def records_of(manifest: EnsembleManifest) -> list[FileRecord]:
    """Return every file that a manifest vouches for."""
    report = [manifest.report] if manifest.report else []
    return [*manifest.members, *report, *manifest.predictions.values()]


class _Sink(io.RawIOBase):
    """Where an archive is written to piece by piece; it cannot go back."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def take(self) -> Iterator[bytes]:
        """Give what was written since the last time."""
        taken, self._written = memoryview(self._written), bytearray()
        for start in range(0, len(taken), _PIECE_BYTES):
            yield bytes(taken[start : start + _PIECE_BYTES])


@dataclass(frozen=True)
class Arrival:
    """An ensemble in an archive, checked but not yet in any store.

    Attributes:
        manifest: of the ensemble.
        contents: the manifest as data.
        archive: with its files.
    """

    manifest: EnsembleManifest
    contents: dict[str, Any]
    archive: zipfile.ZipFile

    def read(self, file: str) -> bytes:
        """Return a file's bytes."""
        return read_entry(self.archive, self.archive.getinfo(file))


def open_archive(file: BinaryIO, max_bytes: int) -> Arrival:
    """Check an archive from anybody, and return what is in it.

    Args:
        file: which has to stay open.
        max_bytes: of all files together.

    Raises:
        InvalidArchive: it is no ensemble that could have been published here; says why.
    """
    archive = open_zip(file, ZipLimits(_MOST_FILES, max_bytes, _DIRECTORY_BYTES))
    entries = {info.filename: info for info in archive.infolist()}
    if MANIFEST not in entries:
        raise InvalidArchive(f"it has no {MANIFEST}")
    if entries[MANIFEST].file_size > _MANIFEST_BYTES:
        raise InvalidArchive(f"{MANIFEST}: more than {_MANIFEST_BYTES:,} bytes")
    try:
        contents = parse_strictly(read_entry(archive, entries[MANIFEST]))
        manifest = manifest_from_dict(contents, MANIFEST)
    except CorruptArtefact as error:
        raise InvalidArchive(str(error)) from error
    except ValueError as error:
        raise InvalidArchive(f"{MANIFEST}: {error}") from error
    if not _is_text(manifest.id, ID_PATTERN) or manifest.id in RESERVED:
        raise InvalidArchive(f"{MANIFEST}: id: {manifest.id!r} is no ensemble's")
    _check_files(manifest, entries)
    arrival = Arrival(manifest, contents, archive)
    for record in records_of(manifest):
        digest = hashlib.sha256(arrival.read(record.file)).hexdigest()
        if digest != record.sha256:
            reason = f"its sha256 is {digest}, its manifest says {record.sha256}"
            raise InvalidArchive(f"{record.file}: {reason}")
    check_contents(manifest, arrival.read)
    return arrival


def _check_files(manifest: EnsembleManifest, entries: dict[str, zipfile.ZipInfo]) -> None:
    named = {MANIFEST}
    for record in records_of(manifest):
        if not (_is_text(record.file, ID_PATTERN) and _is_text(record.sha256, "[0-9a-f]{64}")):
            raise InvalidArchive(f"{MANIFEST}: {record} vouches for no file")
        if not isinstance(record.bytes, int) or record.file in named:
            raise InvalidArchive(f"{MANIFEST}: names {record.file} twice, or not its size")
        named.add(record.file)
        if record.file in entries and entries[record.file].file_size != record.bytes:
            found = entries[record.file].file_size
            reason = f"has {found:,} bytes, its manifest says {record.bytes!r}"
            raise InvalidArchive(f"{record.file}: {reason}")
    for what, names in (("lacks", named - entries.keys()), ("has also", entries.keys() - named)):
        if names:
            raise InvalidArchive(f"it {what} {min(names)!r}")


def _is_text(value: object, pattern: str) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def take_in(arrival: Arrival, store: Store) -> bool:
    """Put an ensemble into a store, where it then exists or does not; say whether it is new there.

    Raises:
        Conflict: another ensemble has its id.
        InvalidArchive: the archive is no longer what it was.
        StoreFull: no space left; the ensemble does not exist.
    """
    id_ = arrival.manifest.id
    if not _has(store, id_) and _put(arrival, store.files, f"ensembles/{id_}"):
        return True
    files, folder = store.locate(id_)
    if read_json(files, f"{folder}/{MANIFEST}") != arrival.contents:
        raise Conflict(f"another ensemble has the id {id_!r}")
    return False


def _put(arrival: Arrival, files: Files, folder: str) -> bool:
    """Write an ensemble's files; say whether it is the one that is there now."""
    names = [record.file for record in records_of(arrival.manifest)]
    if not files.is_local:  # where no folder can be renamed, the manifest comes last
        for name in names:
            files.write(f"{folder}/{name}", arrival.read(name))
        return files.create(f"{folder}/{MANIFEST}", arrival.read(MANIFEST))
    beside = f"{folder}.{uuid.uuid4().hex}.part"
    try:
        for name in (*names, MANIFEST):
            files.write(f"{beside}/{name}", arrival.read(name))
        if not files.exists(f"{folder}/{MANIFEST}"):
            files.delete(folder)  # what a publication left that was killed
        return files.rename_folder(beside, folder)
    finally:
        files.delete(beside)


def _has(store: Store, id_: str) -> bool:
    try:
        store.locate(id_)
    except EnsembleNotFound:
        return False
    return True
