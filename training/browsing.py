"""The pictures of data sets, one at a time, for people who want to see them."""

import threading
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

from PIL import Image

from models.errors import DatasetNotFound, InvalidDataset, InvalidPicture, UnreadablePicture
from models.pictures import decode_picture, shorter_side
from training.datasets import read_entry
from training.one_at_a_time import OneAtATime
from training.sources import SPLITS, Entry, Tree, check_name, find_pictures, is_torchvisions
from training.survey import Place, are_settled, places_of

MOST_PIXELS = 128
"""A side of a picture that is only to be looked at."""

_MOST_KEPT = 4
_MOST_ENTRIES_KEPT = 250_000
"""Of all trees kept together, if they are several: about a kilobyte of memory each."""

READING = OneAtATime("read", most_waiting=12, seconds=60.0)
"""Whose turn it is to read the names of a data set: of one with 200,000 that takes seconds."""

_kept: dict[Path, tuple[list[Place], Tree]] = {}
_one_keeps = threading.Lock()


def tree_of(name: str, folder: Path) -> Tree:
    """Return the pictures of a data set, found again if nothing has changed; nothing is decoded.

    Args:
        name: ``<name>`` of ``folder/<name>/`` or ``folder/<name>.zip``.
        folder: the folder of data sets.

    Raises:
        DatasetNotFound: it has not been downloaded.
        InvalidDataset: it is missing or malformed; names the file or folder.
        TooBusy: others are read, and several wait to be.
    """
    check_name(name)
    if is_torchvisions(name, folder):
        raise DatasetNotFound(f"the pictures of {name} are downloaded when a job first needs them")
    top = folder.absolute() / name
    places = places_of(top)
    if (tree := _found_again(top, places)) is None:
        with READING.turn():
            tree = _found_again(top, places)  # who had the turn before may have read it
            if tree is None:
                tree = _read(name, folder)
                _keep(top, places, tree)
    return tree


def _found_again(top: Path, places: list[Place]) -> Tree | None:
    with _one_keeps:
        kept = _kept.pop(top, None)
        if kept is None or kept[0] != places:
            return None
        _kept[top] = kept  # the last one used is the last to go
        return kept[1]


def _keep(top: Path, places: list[Place], tree: Tree) -> None:
    if not are_settled(places):
        return
    with _one_keeps:
        _kept[top] = places, tree
        while len(_kept) > _MOST_KEPT or (len(_kept) > 1 and _entries_kept() > _MOST_ENTRIES_KEPT):
            del _kept[next(iter(_kept))]


def _entries_kept() -> int:
    return sum(
        len(pictures)
        for _, tree in _kept.values()
        for classes in tree.values()
        for pictures in classes.values()
    )


def _read(name: str, folder: Path) -> Tree:
    with ExitStack() as archives:
        try:
            _, tree = find_pictures(name, folder, archives)
        except OSError as error:
            raise InvalidDataset(f"{error.filename or name}: {error.strerror or error}") from error
        archives.pop_all()  # an archive closes when nobody has a picture of it any more
    return tree


def label_of(label: str) -> str:
    """Return how a class is told of: file systems have names that no text can hold."""
    return label.encode(errors="backslashreplace").decode()


def find_picture(tree: Tree, split: str, label: str, index: int) -> Entry:
    """Return a picture by its place among those of its class, in the order of their names.

    Args:
        tree: a data set's pictures.
        split: ``train``, ``val`` or ``test``.
        label: the class, as ``label_of`` tells it.
        index: from 0.

    Raises:
        DatasetNotFound: there is no such split, class or picture.
    """
    if split not in SPLITS or split not in tree:
        raise DatasetNotFound(f"there is no split {split!r}")
    classes = {label_of(each): pictures for each, pictures in tree[split].items()}
    if label not in classes:
        raise DatasetNotFound(f"{split} has no class {label!r}")
    names = sorted(classes[label])
    if not 0 <= index < len(names):
        raise DatasetNotFound(f"{split}/{label} has {len(names)} pictures, of which 0 is the first")
    return classes[label][names[index]]


def small_png(entry: Entry) -> bytes:
    """Return a picture as a PNG to look at: its centred square, of at most 128 pixels a side.

    Raises:
        UnreadablePicture: it is no picture, or a damaged one.
    """
    try:
        data = read_entry(entry)
        pixels = decode_picture(data, min(MOST_PIXELS, shorter_side(data)))
    except InvalidDataset as error:
        raise UnreadablePicture(f"{'/'.join(entry.parts)} cannot be read") from error
    except InvalidPicture as error:
        raise UnreadablePicture(f"{'/'.join(entry.parts)}: {error}") from error
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()
