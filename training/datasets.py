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
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor

from models.errors import InvalidDataset, InvalidPicture, StoreError
from models.files import Files
from models.pictures import decode_picture

SPLITS = ("train", "val", "test")
_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}  # left behind by file managers
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
    size: int = 32,
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
    if not _is_plain(name):
        raise InvalidDataset(f"{name!r} is no name of a data set: it must be that of one folder")
    with ExitStack() as archives:
        try:
            files, entries = _find(name, folder, archives)
            tree = _tree(entries)
            _check(tree, folder / name)
            key = _key(files, folder, size)
        except OSError as error:
            raise InvalidDataset(f"{error.filename}: {error.strerror}") from error
        dataset = _cached(cache, key, name, size)
        if dataset is None:
            dataset = _read(tree, name, size, progress)
            _keep(cache, key, dataset)
    return dataset


# Finding what is there.


@dataclass(frozen=True)
class _Entry:
    """A file or folder of the tree, wherever it lies."""

    parts: tuple[str, ...]  # ("train", "apple", "1.png")
    where: str  # for messages: its path, or archive!/entry
    read: Callable[[], bytes] | None  # None for a folder


_Tree = dict[str, dict[str, dict[str, _Entry]]]  # split, class, name of the picture


def _is_plain(name: str) -> bool:
    has_tricks = name.startswith(".") or "/" in name or "\\" in name
    # isprintable also refuses NUL and what no file system can encode
    return bool(name) and not has_tricks and name.isprintable() and len(name.encode()) <= 200


def _find(name: str, folder: Path, archives: ExitStack) -> tuple[list[Path], list[_Entry]]:
    """Return the files that the data set consists of, and what is in them."""
    inside = list(_below(folder / name)) if (folder / name).is_dir() else []
    files = [Path(entry.where) for entry in inside if entry.read]
    beside = folder / f"{name}.zip"
    if beside.is_file():
        files.append(beside)
    if name == "cifar100" and not (folder / name).exists() and not files:
        downloaded = list(_torchvision_cifar100(folder))
        return sorted((folder / "cifar-100-python").iterdir()), downloaded
    if not files:
        raise InvalidDataset(f"{folder / name}: there is no such folder with pictures, nor a .zip")

    zips = [f for f in files if f.suffix.lower() == ".zip" and f.parent in (folder, folder / name)]
    packed = [entry for path in zips for entry in _archived(path, archives)]
    return files, inside + packed


def _below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[_Entry]:
    for path in sorted(folder.iterdir()):
        parts = (*above, path.name)
        if _is_hidden(path.name):
            continue
        if path.is_dir():
            yield _Entry(parts, str(path), None)
            if len(parts) < 3:  # deeper is an error anyway, and a link may lead in circles
                yield from _below(path, parts)
        else:
            yield _Entry(parts, str(path), path.read_bytes)


def _archived(path: Path, archives: ExitStack) -> list[_Entry]:
    try:
        archive = archives.enter_context(zipfile.ZipFile(path))
    except zipfile.BadZipFile as error:
        raise InvalidDataset(f"{path}: is no zip archive, or a damaged one: {error}") from error
    one_at_a_time = threading.Lock()  # ZipFile counts its readers without one

    def read(info: zipfile.ZipInfo) -> bytes:
        with one_at_a_time:
            return archive.read(info)

    entries = []
    for info in archive.infolist():
        parts = PurePosixPath(info.filename).parts
        if parts and not any(map(_is_hidden, parts)):
            reader = None if info.is_dir() else partial(read, info)
            entries.append(_Entry(parts, f"{path}!/{info.filename}", reader))

    # zipping a folder, rather than what is in it, puts one more folder around the tree
    tops = {entry.parts[0] for entry in entries if entry.read is None or len(entry.parts) > 1}
    if len(tops) == 1 and not tops & set(SPLITS):
        entries = [_Entry(e.parts[1:], e.where, e.read) for e in entries if e.parts[0] in tops]
    return [entry for entry in entries if entry.parts]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _IGNORED


def _torchvision_cifar100(folder: Path) -> Iterator[_Entry]:
    # costs seconds to import and is rarely needed
    from torchvision.datasets import CIFAR100  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        train = CIFAR100(str(folder), train=True, download=True)
        test = CIFAR100(str(folder), train=False)
    except (OSError, RuntimeError) as error:  # no network (URLError), no space, wrong checksum
        raise InvalidDataset(
            f"{folder / 'cifar100'}: is not there, and CIFAR-100 could not be downloaded "
            f"({error}). Put its pictures there as train/<class>/<picture> and "
            "test/<class>/<picture>, or as zips of that tree"
        ) from error
    for split, rows in (("train", train), ("test", test)):
        for row, (pixels, label) in enumerate(zip(rows.data, rows.targets, strict=True)):
            parts = (split, rows.classes[label], f"{row}.png")
            where = f"{folder / 'cifar-100-python' / split}, row {row}"
            yield _Entry(parts, where, partial(_png, pixels))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels as a file, so that every source goes through the one decoder."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


def _tree(entries: Iterable[_Entry]) -> _Tree:
    tree: _Tree = {}
    for entry in entries:
        match entry.parts:
            case [_] if entry.read:
                continue  # a README, or one of the archives
            case [split, *_] if split not in SPLITS:
                raise InvalidDataset(f"{entry.where}: {split!r} is none of {', '.join(SPLITS)}")
            case [split]:
                tree.setdefault(split, {})
            case [split, label] if entry.read is None:
                tree.setdefault(split, {}).setdefault(label, {})
            case [split, label, picture] if entry.read:
                pictures = tree.setdefault(split, {}).setdefault(label, {})
                if picture in pictures:
                    raise InvalidDataset(f"{entry.where}: is also {pictures[picture].where}")
                pictures[picture] = entry
            case _:
                raise InvalidDataset(f"{entry.where}: must be <split>/<class>/<picture>")
    return tree


def _check(tree: _Tree, where: Path) -> None:
    if not tree.get("train"):
        raise InvalidDataset(f"{where}: has no train folder with a folder per class")
    for split, classes in tree.items():
        for label, pictures in classes.items():
            if not pictures:
                raise InvalidDataset(f"{where / split / label}: has no pictures in it")
    train = tree["train"].keys()
    if len(train) < 2:
        raise InvalidDataset(f"{where / 'train'}: has one class, {min(train)!r}; needs two or more")
    for split in tree.keys() - {"train"}:
        missing, extra = train - tree[split].keys(), tree[split].keys() - train
        if missing or extra:
            differences = [f"missing {_names(missing)}"] * bool(missing)
            differences += [f"extra {_names(extra)}"] * bool(extra)
            raise InvalidDataset(
                f"{where / split}: must have the classes of train: {'; '.join(differences)}"
            )


def _names(names: set[str]) -> str:
    shown = sorted(names)[:10]
    return ", ".join(shown) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


# From files to tensors.


def _read(
    tree: _Tree, name: str, size: int, progress: Callable[[int, int], None] | None
) -> Dataset:
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


def _decode(
    entries: list[_Entry], size: int, progress: Callable[[int, int], None] | None
) -> Tensor:
    """Return uint8 ``[n, 3, size, size]``."""
    images = np.empty((len(entries), 3, size, size), np.uint8)

    def decode(rows: range) -> int:
        for row in rows:
            images[row] = _pixels(entries[row], size).transpose(2, 0, 1)
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


def _pixels(entry: _Entry, size: int) -> NDArray[np.uint8]:
    if entry.read is None:
        raise TypeError(f"{entry.where} is a folder")
    try:
        return decode_picture(entry.read(), size)
    except (InvalidPicture, *_UNREADABLE) as error:
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
