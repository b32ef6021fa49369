"""What a data set holds, counted without decoding a picture: enough to refuse what cannot work.

A first look reads the names of all pictures; a later one asks only whether anything has changed.
"""

import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from models.errors import InvalidDataset
from training.sources import check_name, find_pictures, is_torchvisions
from training.splits import held_out
from training.superclasses import SUPERCLASSES

_SETTLED_SECONDS = 2.0
"""Coarser than the times that file systems keep: a change soon after another may look like none."""


@dataclass(frozen=True)
class Survey:
    """How many pictures a data set has.

    Attributes:
        name: what it was asked for by.
        classes: class names in id order, as ``load_dataset`` gives them.
        pictures: number of pictures by split (``train``, and ``val`` and ``test`` if there are
            any) and class.
    """

    name: str
    classes: tuple[str, ...]
    pictures: Mapping[str, Mapping[str, int]]


_CIFAR100_CLASSES = tuple(sorted(name for group in SUPERCLASSES.values() for name in group))
_CIFAR100 = Survey(
    "cifar100",
    _CIFAR100_CLASSES,
    {
        "train": dict.fromkeys(_CIFAR100_CLASSES, 500),
        "test": dict.fromkeys(_CIFAR100_CLASSES, 100),
    },
)
"""What torchvision downloads (Krizhevsky 2009, section 3.1)."""

Place = tuple[str, int, int, int]  # path, inode, bytes and mtime in ns; zeros where nothing is
MOST_KEPT = 64
"""Data sets whose survey is remembered; the one asked for longest ago goes first."""

_kept: dict[Path, tuple[list[Place], Survey]] = {}  # asked for longest ago first
_one_keeps = threading.Lock()


def survey(name: str, folder: Path) -> Survey:
    """Count the pictures of a data set; nothing is decoded, and nothing downloaded.

    Args:
        name: ``<name>`` of ``folder/<name>/`` or ``folder/<name>.zip``; ``cifar100`` is known
            where neither is there.
        folder: the folder of data sets.

    Raises:
        InvalidDataset: it is missing or malformed, as far as names tell; names the file or folder.
    """
    check_name(name)
    if is_torchvisions(name, folder):
        return _CIFAR100
    top = folder.absolute() / name
    places = places_of(top)  # before they are read, so that a change meanwhile is seen later
    with _one_keeps:
        kept = _kept.pop(top, None)
        if kept and kept[0] == places:
            _kept[top] = kept
            return kept[1]
    try:
        with ExitStack() as archives:
            _, tree = find_pictures(name, folder, archives)
    except OSError as error:
        raise InvalidDataset(f"{error.filename or top}: {error.strerror or error}") from error
    counts = {
        split: {label: len(pictures) for label, pictures in classes.items()}
        for split, classes in tree.items()
    }
    found = Survey(name, tuple(sorted(counts["train"])), counts)
    if are_settled(places):
        with _one_keeps:
            _kept[top] = places, found
            if len(_kept) > MOST_KEPT:
                del _kept[next(iter(_kept))]
    return found


def split_sizes(found: Survey, validation_fraction: float) -> tuple[int, int]:
    """Return how many pictures a recipe trains on and how many it validates on.

    Args:
        found: the data set.
        validation_fraction: share of train to hold out where the data set has no ``val``.

    Raises:
        InvalidDataset: a class is too small to be split; names it.
    """
    train = sum(found.pictures["train"].values())
    if "val" in found.pictures:
        return train, sum(found.pictures["val"].values())
    validation = sum(
        held_out(repr(label), count, validation_fraction)
        for label, count in found.pictures["train"].items()
    )
    return train - validation, validation


def are_settled(places: list[Place]) -> bool:
    """Say whether a change from now on would be seen; soon after another it may not be."""
    newest = max(mtime_ns for _, _, _, mtime_ns in places)
    return time.time_ns() - newest > _SETTLED_SECONDS * 1e9


def places_of(top: Path) -> list[Place]:
    """Return what is no longer the same when a picture comes or goes, or an archive is written.

    Pictures that lie in folders are not looked at one by one: only their names count here, and a
    folder's time changes with the names in it.
    """
    beside = top.with_name(f"{top.name}.zip")
    splits_and_archives = sorted(top.glob("*"))
    classes = sorted(top.glob("*/*"))
    return [_place(path) for path in (beside, top, *splits_and_archives, *classes)]


def _place(path: Path) -> Place:
    try:
        found = path.stat()
    except OSError:  # not there, or a link that leads nowhere
        return str(path), 0, 0, 0
    return str(path), found.st_ino, found.st_size, found.st_mtime_ns
