"""A survey counts what loading would give, decodes and downloads nothing, and sees each change."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from models.errors import InvalidDataset
from tests.trees import (
    as_a_folder_and_a_zip,
    as_a_zip_per_split,
    load,
    pack,
    tiny,
    unpack,
)
from training.datasets import Pictures
from training.splits import split_validation
from training.survey import MOST_KEPT, Survey, split_sizes, survey

TINY = {"train": {"a": 3, "b": 3}, "test": {"a": 1, "b": 1}}


LONG_AGO = 1_000_000_000  # seconds since 1970


def date(folder: Path, seconds: float = LONG_AGO) -> None:
    """Make everything in a folder look as if it had been written then."""
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (seconds, seconds))


def overwrite(path: Path, data: bytes) -> None:
    """Change what is in a file but neither its place, nor its size, nor its time."""
    before = path.stat()
    assert len(data) == before.st_size
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# Counting.


def as_a_folder(data: Path) -> None:
    unpack(tiny(), data / "pets")


def as_a_folder_with_validation(data: Path) -> None:
    unpack(tiny() | {"val/b/1.png": tiny()["test/b/0.png"], "val/a/1.png": tiny()["test/a/0.png"]},
           data / "pets")  # fmt: skip


@pytest.mark.parametrize(
    "packed",
    [as_a_folder, as_a_folder_with_validation, as_a_zip_per_split, as_a_folder_and_a_zip],
)
def test_a_survey_counts_what_is_loaded(packed: Callable[[Path], None], tmp_path: Path) -> None:
    packed(tmp_path / "data")
    found, loaded = survey("pets", tmp_path / "data"), load(tmp_path)
    assert (found.name, found.classes) == (loaded.name, loaded.classes)
    splits = {"train": loaded.train, "val": loaded.validation, "test": loaded.test}
    assert found.pictures == {
        split: dict(zip(loaded.classes, pictures.labels.bincount().tolist(), strict=True))
        for split, pictures in splits.items()
        if pictures
    }


def test_no_picture_is_decoded(tmp_path: Path) -> None:
    unpack(dict.fromkeys(tiny(), b"no picture"), tmp_path / "pets")
    assert survey("pets", tmp_path).pictures == TINY


def test_a_cifar100_that_is_not_there_is_known_and_not_downloaded(tmp_path: Path) -> None:
    found = survey("cifar100", tmp_path)
    assert list(tmp_path.iterdir()) == []
    sizes = {split: set(counts.values()) for split, counts in found.pictures.items()}
    assert sizes == {"train": {500}, "test": {100}}
    assert split_sizes(found, 0.2) == (40_000, 10_000)
    known = {0: "apple", 8: "bicycle", 69: "rocket", 99: "worm"}
    assert {i: found.classes[i] for i in known} == known
    assert all(tuple(counts) == found.classes for counts in found.pictures.values())


def test_a_cifar100_that_is_there_is_counted(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "cifar100")
    assert survey("cifar100", tmp_path).pictures == TINY


def test_what_is_missing_or_malformed_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="pets: there is no such folder"):
        survey("pets", tmp_path)
    with pytest.raises(InvalidDataset, match="is no name of a data set"):
        survey("../pets\0", tmp_path)
    unpack(tiny(), tmp_path / "pets")
    (tmp_path / "pets/more.zip").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidDataset, match=r"pets/more\.zip: No such file"):
        survey("pets", tmp_path)


def with_a_name_that_is_no_text(archive: bytes) -> bytes:
    return archive.replace("ü".encode(), b"\xff\xff")


def of_a_version_that_is_none(archive: bytes) -> bytes:
    entry = archive.rindex(b"PK\1\2")  # of the directory; 6 bytes on, what it takes to read it
    return archive[: entry + 6] + b"\xff\0" + archive[entry + 8 :]


@pytest.mark.parametrize("damage", [with_a_name_that_is_no_text, of_a_version_that_is_none])
def test_an_archive_with_a_damaged_directory_is_named(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    pack(tiny() | {"train/a/ü.png": b""}, tmp_path / "pets.zip")
    assert survey("pets", tmp_path).pictures["train"] == {"a": 4, "b": 3}
    (tmp_path / "pets.zip").write_bytes(damage((tmp_path / "pets.zip").read_bytes()))
    with pytest.raises(InvalidDataset, match=r"pets\.zip: is no zip archive, or a damaged one"):
        survey("pets", tmp_path)


# Splitting.


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.25, 0.3, 0.5])
@pytest.mark.parametrize("counts", [(2, 3, 9), (500, 500), (20, 30, 10, 5), (25, 35, 45)])
def test_sizes_are_those_of_the_split(counts: tuple[int, ...], fraction: float) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    pictures = Pictures(torch.zeros(len(labels), 3, 1, 1, dtype=torch.uint8), labels)
    train, validation = split_validation(pictures, fraction, seed=0)
    classes = tuple("abcd"[: len(counts)])
    found = Survey("pets", classes, {"train": dict(zip(classes, counts, strict=True))})
    assert split_sizes(found, fraction) == (len(train), len(validation))


def test_validation_pictures_of_its_own_take_none_from_train() -> None:
    found = Survey("pets", ("a", "b"), {"train": {"a": 1, "b": 9}, "val": {"a": 3, "b": 4}})
    assert split_sizes(found, 0.5) == (10, 7)


def test_a_class_too_small_to_split_is_named() -> None:
    found = Survey("pets", ("cat", "dog"), {"train": {"cat": 9, "dog": 1}})
    with pytest.raises(InvalidDataset, match="class 'dog' has a single training picture"):
        split_sizes(found, 0.1)


# Looking again.


def test_what_has_not_changed_is_not_read_again(tmp_path: Path) -> None:
    as_a_zip_per_split(tmp_path)
    date(tmp_path)
    first = survey("pets", tmp_path)
    archive = tmp_path / "pets/train.zip"
    overwrite(archive, bytes(archive.stat().st_size))
    assert survey("pets", tmp_path) is first
    archive.touch()
    with pytest.raises(InvalidDataset, match=r"train\.zip: is no zip archive"):
        survey("pets", tmp_path)


def test_only_so_many_data_sets_are_remembered(tmp_path: Path) -> None:
    names = [f"pets{number}" for number in range(MOST_KEPT + 1)]
    for name in names:
        unpack(tiny(), tmp_path / name)
    date(tmp_path)
    first, second = (survey(name, tmp_path) for name in names[:2])
    assert survey(names[0], tmp_path) is first  # and so the second is the one asked for longest ago
    for name in names[2:]:
        survey(name, tmp_path)
    assert survey(names[0], tmp_path) is first
    assert survey(names[1], tmp_path) is not second


def test_what_is_being_written_is_read_again_each_time(tmp_path: Path) -> None:
    as_a_zip_per_split(tmp_path)
    date(tmp_path, time.time() + 3600)  # as new as can be, however slow this machine is
    assert survey("pets", tmp_path).pictures == TINY
    archive = tmp_path / "pets/train.zip"
    overwrite(archive, bytes(archive.stat().st_size))
    with pytest.raises(InvalidDataset, match=r"train\.zip: is no zip archive"):
        survey("pets", tmp_path)


def add_a_picture(data: Path) -> None:
    shutil.copy(data / "pets/train/b/0.png", data / "pets/train/b/9.png")


def take_a_picture_away(data: Path) -> None:
    (data / "pets/train/b/0.png").unlink()


def rename_a_class(data: Path) -> None:
    (data / "pets/test").rename(data / "pets/val")
    for split in ("train", "val"):
        (data / f"pets/{split}/a").rename(data / f"pets/{split}/c")


def add_an_archive_inside(data: Path) -> None:
    pack({"train/a/more.png": b""}, data / "pets/more.zip")


def add_an_archive_beside(data: Path) -> None:
    pack({"train/a/more.png": b""}, data / "pets.zip")


def put_another_in_its_place(data: Path) -> None:
    (data / "pets").rename(data / "before")
    unpack({name: b"" for name in tiny() if name != "train/a/0.png"}, data / "pets")
    date(data / "pets")


@pytest.mark.parametrize(
    "change",
    [
        add_a_picture,
        take_a_picture_away,
        rename_a_class,
        add_an_archive_inside,
        add_an_archive_beside,
        put_another_in_its_place,
    ],
)
def test_each_change_is_seen(change: Callable[[Path], None], tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    date(tmp_path / "data")
    before = survey("pets", tmp_path / "data")
    assert survey("pets", tmp_path / "data") is before
    change(tmp_path / "data")
    after = survey("pets", tmp_path / "data")
    assert after != before
    shutil.copytree(tmp_path / "data", tmp_path / "elsewhere")  # of which nothing is known yet
    assert after == survey("pets", tmp_path / "elsewhere")
