"""Data sets of small pictures: read where they lie, decoded once, always in the same order.

A data set is a tree ``train/<class>/<picture>``, with ``val/`` and ``test/`` if there are any. It
lies in a folder, in zip archives inside or beside that folder, or partly here and partly there.
Rows are sorted by class and by the hash of the decoded pixels, so the same pictures give the same
tensors, and the same digest, however they are packed and named.
"""

import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from models.errors import InvalidDataset, InvalidPicture, StoreError
from models.files import Files
from models.pictures import decode_picture
from training.sources import SPLITS, Entry, Tree, find_pictures

SIZE = 32
"""Side of the pictures that networks are trained on, in pixels."""

_DECODER = 1  # part of the cache's key: raise it when the same file decodes to other pixels
_UNREADABLE = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures with their classes, on the CPU.

    Attributes:
        images: uint8 ``[n, 3, size, size]``, RGB.
        labels: int64 ``[n]``, class ids.
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> "Pictures":
        """Return a copy of these rows, in this order. ``indices``: int64 ``[m]``."""
        return Pictures(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes:
        name: what it was asked for by.
        digest: sha256 over size, class names and pixels; packing and file names do not matter.
        classes: class names in id order.
    """

    name: str
    digest: str
    classes: tuple[str, ...]
    train: Pictures
    validation: Pictures | None
    test: Pictures | None


def load_dataset(
    name: str,
    folder: Path,
    cache: Files,
    *,
    size: int = SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Read a data set, or take its decoded tensors from the cache if no file has changed since.

    Args:
        name: ``<name>`` of ``folder/<name>/`` or ``folder/<name>.zip``; ``cifar100`` is downloaded
            into ``folder`` where neither is there.
        folder: the folder of data sets.
        cache: where decoded tensors are kept, as ``datasets/<key>.safetensors``.
        size: side of the decoded pictures in pixels.
        progress: told (done, total) pictures while they are decoded; may raise to stop.

    Raises:
        InvalidDataset: it is missing or malformed; names the file or folder.
    """
    with ExitStack() as archives:
        try:
            files, tree = find_pictures(name, folder, archives)
            key = _key(files, folder, size)
        except OSError as error:
            raise InvalidDataset(f"{error.filename}: {error.strerror}") from error
        dataset = _cached(cache, key, name, size)
        if dataset is None:
            dataset = _read(tree, name, size, progress)
            _keep(cache, key, dataset)
    return dataset


# From files to tensors.


def _read(tree: Tree, name: str, size: int, progress: Callable[[int, int], None] | None) -> Dataset:
    classes = sorted(tree["train"])
    splits = [split for split in SPLITS if split in tree]
    found = {
        split: [(i, e) for i, label in enumerate(classes) for e in tree[split][label].values()]
        for split in splits
    }
    images = _decode([entry for split in splits for _, entry in found[split]], size, progress)
    decoded: dict[str, Pictures] = {}
    start = 0
    for split in splits:
        labels = torch.tensor([label for label, _ in found[split]])
        decoded[split] = Pictures(images[start : start + len(labels)], labels)
        start += len(labels)
    return _ordered(name, classes, decoded)


def _decode(entries: list[Entry], size: int, progress: Callable[[int, int], None] | None) -> Tensor:
    """Return uint8 ``[n, 3, size, size]``."""
    images = np.empty((len(entries), 3, size, size), np.uint8)

    def decode(rows: range) -> int:
        for row in rows:
            images[row] = decode_entry(entries[row], size).transpose(2, 0, 1)
        return len(rows)

    blocks = [range(i, min(i + 64, len(entries))) for i in range(0, len(entries), 64)]
    done = 0
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        try:
            for count in pool.map(decode, blocks):
                done += count
                if progress:
                    progress(done, len(entries))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # or leaving would decode all the rest
            raise
    return torch.from_numpy(images)


def decode_entry(entry: Entry, size: int) -> NDArray[np.uint8]:
    """Decode a picture of a data set to uint8 [size, size, 3].

    Raises:
        InvalidDataset: it cannot be read or is no picture; names the file.
    """
    data = read_entry(entry)
    try:
        return decode_picture(data, size)
    except InvalidPicture as error:
        raise InvalidDataset(f"{entry.where}: {error}") from error


def read_entry(entry: Entry) -> bytes:
    """Return the bytes of a picture's file.

    Raises:
        InvalidDataset: it cannot be read; names it.
    """
    if entry.read is None:
        raise TypeError(f"{entry.where} is a folder")
    try:
        return entry.read()
    except _UNREADABLE as error:
        raise InvalidDataset(f"{entry.where}: {error}") from error


def _ordered(name: str, classes: list[str], splits: Mapping[str, Pictures]) -> Dataset:
    """Bring the rows into their canonical order and take the digest of what is there."""
    size = splits["train"].images.shape[-1]
    digest = hashlib.sha256(json.dumps([size, classes]).encode())
    ordered: dict[str, Pictures] = {}
    for split, pictures in splits.items():
        hashes = [hashlib.sha256(image).digest() for image in pictures.images.numpy()]
        keys = sorted(zip(pictures.labels.tolist(), hashes, range(len(hashes)), strict=True))
        ordered[split] = pictures.select(torch.tensor([row for _, _, row in keys]))
        digest.update(json.dumps([split, [label for label, _, _ in keys]]).encode())
        digest.update(b"".join(pixels for _, pixels, _ in keys))
    return Dataset(
        name,
        digest.hexdigest(),
        tuple(classes),
        ordered["train"],
        ordered.get("val"),
        ordered.get("test"),
    )


# The cache of decoded tensors.


def _key(files: list[Path], folder: Path, size: int) -> str:
    """Return what decides the decoded tensors: every file's place and content, and the decoder."""
    contents = []
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        contents.append((path.relative_to(folder).as_posix(), digest))
    return hashlib.sha256(json.dumps([_DECODER, size, sorted(contents)]).encode()).hexdigest()


def _cached(cache: Files, key: str, name: str, size: int) -> Dataset | None:
    file = f"datasets/{key}.safetensors"
    try:
        return _unpacked(cache.read(file), name, size)
    except FileNotFoundError:
        return None
    except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
        _log.warning("%s is damaged and will be built again: %s", cache.path(file), error)
        return None


def _unpacked(data: bytes, name: str, size: int) -> Dataset:
    """Return what ``_keep`` wrote, checked pixel by pixel."""
    tensors = safetensors.torch.load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    splits = {
        split: Pictures(tensors[f"{split}.images"], tensors[f"{split}.labels"])
        for split in SPLITS
        if f"{split}.images" in tensors
    }
    dataset = _ordered(name, json.loads(header["classes"]), splits)
    if dataset.digest != header["digest"] or dataset.train.images.shape[1:] != (3, size, size):
        raise ValueError("its pixels are not those that were written")
    return dataset


def _keep(cache: Files, key: str, dataset: Dataset) -> None:
    splits = zip(SPLITS, (dataset.train, dataset.validation, dataset.test), strict=True)
    tensors: dict[str, Tensor] = {}
    for split, pictures in splits:
        if pictures is not None:
            tensors |= {f"{split}.images": pictures.images, f"{split}.labels": pictures.labels}
    header = {"digest": dataset.digest, "classes": json.dumps(dataset.classes)}
    file = f"datasets/{key}.safetensors"
    try:
        cache.write(file, safetensors.torch.save(tensors, header))
    except (StoreError, OSError) as error:  # the data set is fine; the next load decodes it again
        _log.warning("%s cannot be kept: %s", cache.path(file), error)
