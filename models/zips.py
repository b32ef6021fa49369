"""Zip archives from anybody, of which everything is checked that their directory claims.

Nothing is ever unpacked to a path that an archive names: entries are read by name, at most as far
as they say they go. What is refused: names that lead elsewhere, two entries of one name, links,
encryption, methods whose output cannot be bounded, and more files, bytes or directory than a limit.
"""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from models.errors import InvalidArchive

_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_ENCRYPTED = 0x1
_MOST_NAME_BYTES = 1024
_PIECE_BYTES = 2**16

# What zipfile and zlib raise when bytes are not what they expect.
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, OverflowError, LookupError),
)


@dataclass(frozen=True)
class ZipLimits:
    """How much of an archive is worth reading.

    Attributes:
        files: most entries.
        bytes: most bytes of all files together, unpacked.
        directory_bytes: most bytes of its directory, which is held in memory; at least 64 KiB.
    """

    files: int
    bytes: int
    directory_bytes: int


def open_zip(file: BinaryIO, limits: ZipLimits) -> zipfile.ZipFile:
    """Open an archive whose directory has been checked; its files have not been read.

    Raises:
        InvalidArchive: it is none, or holds what is refused here.
    """
    with _damage_told("the archive"):
        archive = zipfile.ZipFile(_Bounded(file, limits.directory_bytes))
        found = archive.infolist()
    if len(found) > limits.files:
        raise InvalidArchive(f"{len(found):,} entries; at most {limits.files:,} are read")
    total = sum(info.file_size for info in found)
    if total > limits.bytes:
        raise InvalidArchive(f"{total:,} bytes unpacked; at most {limits.bytes:,} are read")
    names: set[str] = set()
    for info in found:
        _check(info)
        if info.filename in names:
            raise InvalidArchive(f"two entries are called {info.filename!r}")
        names.add(info.filename)
    return archive


def read_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return the bytes of one file, as many as the directory says and of the checksum it gives.

    Raises:
        InvalidArchive: there are others.
    """
    with _damage_told(repr(info.filename)), archive.open(info) as file:
        # A checksum that differs is raised with the last piece.
        data = b"".join(iter(lambda: file.read(_PIECE_BYTES), b""))
        if len(data) != info.file_size:
            raise zipfile.BadZipFile(f"{len(data):,} bytes, not {info.file_size:,}")
    return data


def _check(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename
    parts = name.removesuffix("/").split("/")
    if name != info.filename or "\\" in name or ":" in parts[0] or {"", ".", ".."} & {*parts}:
        raise InvalidArchive(f"{name!r} is no path inside an archive")
    if not name.isprintable() or len(name.encode()) > _MOST_NAME_BYTES:
        raise InvalidArchive(f"{name[:100]!r} has characters that are no part of a name, or many")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG}:
        raise InvalidArchive(f"{name!r} is neither a file nor a folder")
    if info.is_dir() and info.file_size:
        raise InvalidArchive(f"{name!r} is a folder that has bytes")
    if info.flag_bits & _ENCRYPTED:
        raise InvalidArchive(f"{name!r} is encrypted")
    if info.compress_type not in _METHODS:
        raise InvalidArchive(f"{name!r} is neither stored nor deflated")


@contextmanager
def _damage_told(what: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise InvalidArchive(f"{what} is no zip, or a damaged one: {reason}") from error


class _Bounded(io.RawIOBase):
    """A file of which only so much is read at once: zipfile reads a directory in one piece."""

    def __init__(self, file: BinaryIO, most_bytes: int) -> None:
        super().__init__()
        self._file = file
        self._most_bytes = most_bytes

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_SET and offset < 0:
            raise zipfile.BadZipFile("it refers to what is before its beginning")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        if size > self._most_bytes:
            raise zipfile.BadZipFile(f"its directory has more than {self._most_bytes:,} bytes")
        return self._file.read(size)
