"""What is likely to go wrong with a data set, told before a job is asked for.

What counting tells is told of all pictures; what only decoding tells, of as many as were asked
for, evenly chosen. Two pictures are alike where grey thumbnails of them, 16 pixels a side,
correlate; how much that finds is measured in docs/decisions.md.

Shape legend: n pictures of each split, d = 256 pixels of a thumbnail.
"""

import hashlib
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidDataset
from training.browsing import label_of, tree_of
from training.datasets import SIZE, decode_entry
from training.one_at_a_time import OneAtATime
from training.sources import Entry, is_torchvisions
from training.survey import Survey, are_settled, places_of

Kind = Literal["few", "unbalanced", "unreadable", "duplicate", "near-duplicate", "no-test"]

FEWEST = 20
"""Training pictures of a class with fewer are too few to learn much from."""

MOST_UNBALANCED = 10
"""Times that the largest class may have the smallest; from there on long tails are a field of
research (Cui et al. 2019, "Class-Balanced Loss")."""

ALIKE = 0.97
"""Correlation of thumbnails from which on two pictures count as one."""

MOST_NAMED = 20
"""Pictures that one warning names."""

MOST_SECONDS = 20.0
"""Of decoding, unless told."""

_THUMBNAIL = 16
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Finding:
    """Something that is likely to go wrong.

    Attributes:
        kind: what kind of thing.
        detail: a sentence about it.
        pictures: the first of those it is about, as ``train/cat/1.png``.
    """

    kind: Kind
    detail: str
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """What was found, and how many pictures were looked at of how many there are."""

    findings: tuple[Finding, ...]
    looked_at: int
    pictures: int


LOOKING = OneAtATime("looked through", most_waiting=3, seconds=2 * MOST_SECONDS)
"""Whose turn it is to decode pictures of a data set: that takes a core and memory."""

_MOST_KEPT = 16
_kept: dict[tuple[object, ...], Inspection] = {}


def inspect(found: Survey, folder: Path, most: int, seconds: float = MOST_SECONDS) -> Inspection:
    """Look through a data set for what is likely to go wrong.

    Args:
        found: its survey.
        folder: the folder of data sets.
        most: pictures to decode.
        seconds: of decoding, after which those that are left are not looked at.

    Raises:
        InvalidDataset: it has become malformed since it was surveyed.
        TooBusy: another one is being looked through for long, or several wait already.
    """
    total = sum(sum(classes.values()) for classes in found.pictures.values())
    counted = tuple(_count(found))
    if most == 0 or is_torchvisions(found.name, folder):
        return Inspection(counted, 0, total)
    places = places_of(folder.absolute() / found.name)
    key = (*places, most)
    if kept := _kept.get(key):
        return kept
    with LOOKING.turn():
        if kept := _kept.get(key):  # whoever was before looked through the same one
            return kept
        chosen = _choose(tree_of(found.name, folder), most)
        seen = _look(chosen, time.monotonic() + seconds)
        inspection = Inspection((*counted, *seen.findings), seen.looked_at, total)
        if are_settled(places):
            _kept[key] = inspection
            while len(_kept) > _MOST_KEPT:
                del _kept[next(iter(_kept))]
        return inspection


# What counting tells.


def _count(found: Survey) -> Iterator[Finding]:
    train = {label_of(label): count for label, count in found.pictures["train"].items()}
    few = sorted(label for label, count in train.items() if count < FEWEST)
    if few:
        detail = f"fewer than {FEWEST} pictures to train on: {_named(few)}"
        yield Finding("few", detail)
    least, most = min(train, key=train.__getitem__), max(train, key=train.__getitem__)
    if train[most] >= MOST_UNBALANCED * train[least]:
        detail = f"{most} has {train[most]} pictures to train on, {least} has {train[least]}"
        yield Finding("unbalanced", f"{detail}: rare classes will seldom be answered")
    if "test" not in found.pictures:
        detail = "there are no pictures to test on, so accuracy is told of those validated on only"
        yield Finding("no-test", detail)


def _named(labels: list[str]) -> str:
    more = f" and {len(labels) - 10} more" if len(labels) > 10 else ""
    return ", ".join(labels[:10]) + more


# What looking tells.


@dataclass(frozen=True)
class _Seen:
    findings: tuple[Finding, ...]
    looked_at: int


def _choose(tree: Mapping[str, Mapping[str, Mapping[str, Entry]]], most: int) -> list[Entry]:
    """Return so many pictures, evenly over splits and classes; the first of them are so too."""
    entries = [
        pictures[name]
        for _, classes in sorted(tree.items())
        for _, pictures in sorted(classes.items())
        for name in sorted(pictures)
    ]
    count = min(most, len(entries))
    chosen = [entries[index * len(entries) // count] for index in range(count)]
    random.Random(0).shuffle(chosen)  # noqa: S311  # the same every time
    return chosen


def _look(entries: list[Entry], until: float) -> _Seen:
    places: list[tuple[str, ...]] = []
    unreadable: list[str] = []
    same: defaultdict[bytes, list[int]] = defaultdict(list)
    thumbnails: list[NDArray[np.float32]] = []
    looked_at = 0
    for entry in entries:
        if time.monotonic() > until:
            break
        looked_at += 1
        try:
            pixels = decode_entry(entry, SIZE)
        except InvalidDataset:
            unreadable.append(_path(entry.parts))
            continue
        same[hashlib.sha256(pixels.tobytes()).digest()].append(len(places))
        thumbnails.append(thumbnail(pixels))
        places.append(entry.parts)
    findings = []
    if unreadable:
        detail = f"{len(unreadable)} of {looked_at} pictures cannot be read: jobs would fail"
        findings.append(_finding("unreadable", detail, unreadable))
    twice = [rows for rows in same.values() if len({places[row][:2] for row in rows}) > 1]
    if twice:
        detail = f"{len(twice)} pictures are in more than one split or class"
        named = [_path(places[row]) for rows in twice for row in rows]
        findings.append(_finding("duplicate", detail, named))
    identical = {row: number for number, rows in enumerate(same.values()) for row in rows}
    alike, rows = _alike(places, thumbnails, identical)
    if alike:
        detail = f"{alike} pairs of pictures in two splits are nearly the same"
        named = [_path(places[row]) for row in rows]
        findings.append(_finding("near-duplicate", f"{detail}: accuracy would be flattered", named))
    return _Seen(tuple(findings), looked_at)


def _finding(kind: Kind, detail: str, pictures: Iterable[str]) -> Finding:
    return Finding(kind, detail, tuple(dict.fromkeys(pictures))[:MOST_NAMED])


def _path(parts: tuple[str, ...]) -> str:
    return label_of("/".join(parts))


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a picture's grey thumbnail, without its mean and of length one, float32 [d].

    One of a single grey has no direction: it is all zeros, and like no other.

    Args:
        pixels: uint8 [s, s, 3], s a multiple of 16.
    """
    step = len(pixels) // _THUMBNAIL
    grey = (pixels.astype(np.float32) @ _GREY).reshape(_THUMBNAIL, step, _THUMBNAIL, step)
    small = grey.mean(axis=(1, 3)).reshape(-1)
    small -= small.mean()
    length = float(np.linalg.norm(small))
    # Below a quarter of a grey level per pixel it is noise of rounding that would be compared.
    return small / length if length > _THUMBNAIL / 4 else np.zeros_like(small)


def _alike(
    places: list[tuple[str, ...]],
    thumbnails: list[NDArray[np.float32]],
    identical: Mapping[int, int],
) -> tuple[int, list[int]]:
    """Count the pairs in two splits that are nearly, and not quite, the same; return some rows."""
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for row, (split, *_) in enumerate(places):
        rows[split].append(row)
    count, named = 0, []
    for one, other in combinations(sorted(rows), 2):
        ours, theirs = (np.stack([thumbnails[row] for row in rows[each]]) for each in (one, other))
        of_ours, of_theirs = (
            np.array([identical[row] for row in rows[each]]) for each in (one, other)
        )
        pairs = (ours @ theirs.T >= ALIKE) & (of_ours[:, None] != of_theirs)  # [n, n]
        count += int(pairs.sum())
        for place in np.flatnonzero(pairs)[:MOST_NAMED].tolist():
            named += [rows[one][place // len(theirs)], rows[other][place % len(theirs)]]
    return count, named
