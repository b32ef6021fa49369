"""Data sets as they are told of, and taken in from elsewhere."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from app.schemas import (
    ClassCounts,
    DataSetDetail,
    DataSetKind,
    DataSetList,
    DataSetProblem,
    DataSetSummary,
    DataSetWarning,
    LookedAt,
    SplitCounts,
)
from models.errors import Conflict, DatasetNotFound, InvalidArchive, InvalidDataset, StoreError
from models.files import flush_folder
from models.zips import ZipLimits, open_zip, read_entry
from training.browsing import label_of
from training.inspection import inspect
from training.recipe import NAME_PATTERN
from training.sources import check_archive, is_hidden, is_torchvisions
from training.survey import Survey, survey

BUILTIN = "cifar100"

_DOWNLOADED = {"cifar-100-python"}
"""What torchvision leaves in the folder of data sets beside the archive."""

_MOST_FILES = 200_000
_DIRECTORY_BYTES = 24 * 2**20
"""Of an archive that is brought: its pictures are kept in memory by name, about a kilobyte each."""


def list_data_sets(folder: Path) -> DataSetList:
    """Return all data sets by name, and what lies in their folder and is none.

    Args:
        folder: the folder of data sets; may be missing.
    """
    datasets, problems = [], []
    for name in sorted({BUILTIN, *_names(folder)}):
        try:
            datasets.append(_summary(name, folder))
        except InvalidDataset as error:
            problems.append(DataSetProblem(name=label_of(name), reason=told(error, folder)))
    return DataSetList(datasets=datasets, problems=problems)


def _summary(name: str, folder: Path) -> DataSetSummary:
    if not re.fullmatch(NAME_PATTERN, name):
        reason = "letters, digits, '.', '_' and '-', starting with a letter or digit, 64 at most"
        raise InvalidDataset(f"no recipe can name it: {reason}")
    found = survey(name, folder)
    return DataSetSummary(
        name=name,
        kind=_kind_of(name, folder),
        classes=len(found.classes),
        pictures=_totals(found),
    )


def data_set(name: str, folder: Path, check: int) -> DataSetDetail:
    """Return a data set with its classes and what is likely to go wrong with it.

    Args:
        name: what recipes call it.
        folder: the folder of data sets.
        check: most pictures to decode.

    Raises:
        DatasetNotFound: nothing of this name is there.
        InvalidDataset: it is there, and malformed.
    """
    need(name, folder)
    try:
        found = survey(name, folder)
        inspection = inspect(found, folder, check)
    except InvalidDataset as error:
        raise InvalidDataset(told(error, folder)) from error
    return DataSetDetail(
        name=name,
        kind=_kind_of(name, folder),
        classes=[
            ClassCounts(label=label_of(label), pictures=_counts_of(found, label))
            for label in found.classes
        ],
        pictures=_totals(found),
        warnings=[
            DataSetWarning(kind=each.kind, detail=each.detail, pictures=list(each.pictures))
            for each in inspection.findings
        ],
        checked=LookedAt(pictures=inspection.looked_at, of=inspection.pictures),
    )


def need(name: str, folder: Path) -> None:
    """Refuse a name of which there is nothing.

    Raises:
        DatasetNotFound: there is neither a folder nor an archive of this name.
    """
    if not (re.fullmatch(NAME_PATTERN, name) and (name == BUILTIN or is_there(name, folder))):
        raise DatasetNotFound(f"no data set has the name {name!r}")


def is_there(name: str, folder: Path) -> bool:
    """Say whether there is a folder or an archive of this name, whatever is in it."""
    return (folder / name).exists() or (folder / f"{name}.zip").exists()


def refuse_taken(name: str, folder: Path) -> None:
    """Refuse a name for a new data set that another one has.

    Raises:
        Conflict: naming it.
    """
    if name == BUILTIN or is_there(name, folder):
        raise Conflict(f"there is a data set {name!r} already")


def take_in_data_set(
    file: BinaryIO, name: str, folder: Path, *, max_bytes: int, max_picture_bytes: int
) -> None:
    """Make a received archive a data set, if it is one; it then exists, or does not.

    Args:
        file: in the folder of data sets, under a name that is nobody's.
        name: what recipes will call it.
        folder: the folder of data sets.
        max_bytes: of all pictures together.
        max_picture_bytes: of one.

    Raises:
        InvalidArchive: it is no zip, or a hostile one.
        InvalidDataset: there is no data set in it.
        Conflict: another one has come to have the name.
        StoreError: the folder cannot be written.
    """
    with open_zip(file, ZipLimits(_MOST_FILES, max_bytes, _DIRECTORY_BYTES)) as archive:
        for info in archive.infolist():
            if not any(map(is_hidden, info.filename.split("/"))):
                if info.file_size > max_picture_bytes:
                    reason = f"{info.file_size:,} bytes; at most {max_picture_bytes:,} of a picture"
                    raise InvalidArchive(f"{info.filename!r}: {reason}")
                read_entry(archive, info)  # what it claims of itself is true
    check_archive(Path(file.name), f"{name}.zip")
    refuse_taken(name, folder)
    try:
        os.fchmod(file.fileno(), 0o644)  # workers may be other users; a new file is its owner's
        os.fsync(file.fileno())
        os.link(file.name, folder / f"{name}.zip")  # unlike rename, link refuses to replace
        flush_folder(folder)
    except FileExistsError as error:
        raise Conflict(f"there is a data set {name!r} already") from error
    except OSError as error:
        raise StoreError(f"{name}.zip cannot be written: {error.strerror}") from error


def told(error: InvalidDataset, folder: Path) -> str:
    """Return what is wrong with a data set, with paths that begin at the folder of data sets."""
    # Whoever asks may not be the owner of the machine.
    text = str(error).replace(f"{folder.absolute()}{os.sep}", "").replace(f"{folder}{os.sep}", "")
    return label_of(text)


def _names(folder: Path) -> set[str]:
    try:
        found = list(folder.iterdir())
    except OSError:  # a machine that only answers has none
        return set()
    archives = {path.stem for path in found if path.suffix == ".zip"}
    folders = {path.name for path in found if path.is_dir()}
    return {name for name in archives | folders if not is_hidden(name)} - _DOWNLOADED


def _kind_of(name: str, folder: Path) -> DataSetKind:
    if is_torchvisions(name, folder):
        return "builtin"
    return "folder" if (folder / name).is_dir() else "archive"


def _totals(found: Survey) -> SplitCounts:
    return SplitCounts(**{split: sum(of.values()) for split, of in found.pictures.items()})


def _counts_of(found: Survey, label: str) -> SplitCounts:
    counts: Mapping[str, int] = {split: of[label] for split, of in found.pictures.items()}
    return SplitCounts(**counts)
