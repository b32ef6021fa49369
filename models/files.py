"""Whole files, read and written at once: the only place that touches the store's file system.

A folder is a local path or any fsspec URL (``s3://bucket/stillhouse``, ``memory://``). Local
writes go to a file beside the target, are flushed to the disk and renamed into place, so a reader
sees the old file or the new one and never half of either. Object stores give that by themselves.
"""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec

from models.errors import StoreError, StoreFull


class Files:
    """The files below one root, by their ``/``-separated path relative to it.

    Args:
        root: a local path, or an fsspec URL.
    """

    def __init__(self, root: str | Path) -> None:
        fs, path = fsspec.core.url_to_fs(str(root))
        self._fs: Any = fs
        self._root: str = path.rstrip("/")
        self.is_local: bool = "file" in _protocols(fs)

    def __str__(self) -> str:
        return self._root

    def path(self, name: str) -> str:
        """Return the full path of a file, for messages that name it."""
        return f"{self._root}/{name}"

    def exists(self, name: str) -> bool:
        """Say whether a file or folder of this name is there."""
        return bool(self._fs.exists(self.path(name)))

    def read(self, name: str) -> bytes:
        """Return a file's bytes.

        Raises:
            FileNotFoundError: there is no such file.
        """
        return bytes(self._fs.cat_file(self.path(name)))

    def write(self, name: str, data: bytes) -> None:
        """Write a file, replacing an older one of the same name.

        Raises:
            StoreFull: no space left; what was there before is untouched.
            StoreError: the folder cannot be written.
        """
        if not self.is_local:
            self._fs.pipe_file(self.path(name), data)
            return
        with self._written_beside(name, data) as beside:
            beside.replace(self.path(name))

    def create(self, name: str, data: bytes) -> bool:
        """Write a file only if there is none of this name yet; of several writers one wins.

        Object stores have no common way to decide a race, so there the check comes first and
        two writers within the same instant may both be told that they won.

        Returns:
            Whether this call wrote it.

        Raises:
            StoreFull: no space left.
            StoreError: the folder cannot be written.
        """
        if not self.is_local:
            if self.exists(name):
                return False
            self._fs.pipe_file(self.path(name), data)
            return True
        with self._written_beside(name, data) as beside:
            try:
                os.link(beside, self.path(name))  # unlike rename, link refuses to replace
            except FileExistsError:
                return False
        return True

    def rename_folder(self, name: str, target: str) -> bool:
        """Give a folder of a local store another name, unless it is taken; of several one wins.

        Returns:
            Whether this call did.

        Raises:
            StoreError: the folder cannot be renamed.
        """
        try:
            Path(self.path(name)).rename(self.path(target))
            flush_folder(Path(self.path(target)).parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise StoreError(f"{self.path(target)}: cannot be made: {error.strerror}") from error
        return True

    def list(self, name: str) -> list[str]:
        """Return the names directly inside a folder, sorted; a missing folder has none.

        Half-written files that a crash left behind are not listed.
        """
        try:
            found = self._fs.ls(self.path(name), detail=False, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = (entry.rstrip("/").rsplit("/", 1)[-1] for entry in found)
        return sorted(entry for entry in names if not entry.endswith(".part"))

    def delete(self, name: str) -> None:
        """Delete a file, or a folder with all it holds; a missing one is fine."""
        if self.exists(name):
            with suppress(FileNotFoundError):  # somebody else was quicker
                self._fs.rm(self.path(name), recursive=True)

    @contextmanager
    def _written_beside(self, name: str, data: bytes) -> Iterator[Path]:
        """Give a file beside the target, flushed to the disk, to be put into the target's place."""
        target = Path(self.path(name))
        beside = target.with_name(f"{target.name}.{uuid.uuid4().hex}.part")
        try:
            # A new name is in its folder's own data, and so is a new folder's in the one above:
            # unless these are flushed too, power loss could take them back.
            named_in = [target.parent]
            while not named_in[-1].exists():
                named_in.append(named_in[-1].parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield beside
            for folder in named_in:
                flush_folder(folder)
        except OSError as error:
            if is_full(error):
                message = f"{target}: no space left for {len(data):,} bytes"
                raise StoreFull(message) from error
            raise StoreError(f"{target}: cannot be written: {error.strerror}") from error
        finally:
            with suppress(OSError):
                beside.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Say whether an error means that there is no space left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def flush_folder(folder: Path) -> None:
    """Have a folder's names survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
