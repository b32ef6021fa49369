"""Data sets: the same pictures give the same tensors and digest, decoded once."""

import hashlib
import logging
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import JobCancelled
from models.files import Files
from tests.trees import (
    Tree,
    as_a_folder_and_a_zip,
    as_a_zip_per_split,
    assert_same,
    below,
    load,
    png,
    tiny,
    unpack,
)
from training.datasets import Dataset, load_dataset

# What comes out.


def test_a_folder_of_pictures_becomes_tensors(tmp_path: Path) -> None:
    unpack(tiny() | {"val/b/x.png": png(7), "val/a/y.png": png(8)}, tmp_path / "data/pets")
    dataset = load(tmp_path)
    assert (dataset.name, dataset.classes) == ("pets", ("a", "b"))
    assert dataset.train.images.shape == (6, 3, 8, 8)
    assert dataset.train.images.dtype == torch.uint8
    assert dataset.train.labels.dtype == torch.int64
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.validation is not None
    assert dataset.validation.labels.tolist() == [0, 1]
    with Image.open(BytesIO(png(8))) as picture:
        expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    assert torch.equal(dataset.validation.images[0], expected)


def test_splits_that_are_not_there_are_none(tmp_path: Path) -> None:
    unpack(below("train/", tiny()), tmp_path / "data/pets")
    dataset = load(tmp_path)
    assert dataset.validation is None
    assert dataset.test is None


def test_class_ids_follow_the_alphabet(tmp_path: Path) -> None:
    unpack(
        {f"train/{c}/1.png": png(i) for i, c in enumerate(["zebra", "ant", "cow"])},
        tmp_path / "data/pets",
    )
    assert load(tmp_path).classes == ("ant", "cow", "zebra")


def test_pictures_are_scaled_to_the_size_asked_for(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    assert load(tmp_path, size=5).train.images.shape == (6, 3, 5, 5)


def test_select_takes_rows_in_the_given_order(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    train = load(tmp_path).train
    chosen = train.select(torch.tensor([4, 0]))
    assert len(chosen) == 2
    assert chosen.labels.tolist() == [1, 0]
    assert torch.equal(chosen.images[0], train.images[4])


# The digest.


def moved_to_test() -> Tree:
    tree = tiny()
    return tree | {"test/a/1.png": tree.pop("train/a/1.png")}


@pytest.mark.parametrize(
    "other",
    [
        tiny() | {"train/a/0.png": png(999)},
        tiny() | {"train/a/9.png": png(999)},
        below("train/", tiny()),
        {name.replace("/b/", "/c/"): picture for name, picture in tiny().items()},
        {name.replace("test/", "val/"): picture for name, picture in tiny().items()},
        moved_to_test(),
    ],
    ids=["pixels", "more", "no test", "class name", "val not test", "between splits"],
)
def test_the_digest_tells_other_pictures_apart(other: Tree, tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    unpack(other, tmp_path / "data/other")
    assert load(tmp_path).digest != load(tmp_path, "other").digest


def test_the_digest_tells_between_which_classes_the_pictures_are_divided(tmp_path: Path) -> None:
    def pixels_hash(data: bytes) -> bytes:
        with Image.open(BytesIO(data)) as picture:
            return hashlib.sha256(np.array(picture).transpose(2, 0, 1).tobytes()).digest()

    low, middle, high = sorted(map(png, range(3)), key=pixels_hash)  # all in the order of the rows
    one = {"train/a/0.png": low, "train/b/1.png": middle, "train/b/2.png": high}
    unpack(one, tmp_path / "data/pets")
    unpack({**one, "train/a/1.png": middle}, tmp_path / "data/other")
    (tmp_path / "data/other/train/b/1.png").unlink()
    assert load(tmp_path).digest != load(tmp_path, "other").digest


def test_the_digest_tells_sizes_apart(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    assert load(tmp_path, size=8).digest != load(tmp_path, size=7).digest


# Decoded once.


def decoded(tmp_path: Path, **options: int) -> tuple[int, Dataset]:
    """Load, and count the pictures that had to be decoded for it."""
    done = [0]
    dataset = load_dataset(
        "pets",
        tmp_path / "data",
        Files(tmp_path / "store"),
        size=options.get("size", 8),
        progress=lambda count, _: done.append(count),
    )
    return done[-1], dataset


@pytest.mark.parametrize("packed", [as_a_zip_per_split, as_a_folder_and_a_zip])
def test_the_second_load_decodes_nothing(packed: Callable[[Path], None], tmp_path: Path) -> None:
    packed(tmp_path / "data")
    (first, one), (second, other) = decoded(tmp_path), decoded(tmp_path)
    assert (first, second) == (8, 0)
    assert_same(one, other)


def test_a_changed_picture_is_seen(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    _, before = decoded(tmp_path)
    (tmp_path / "data/pets/train/a/0.png").write_bytes(png(999))
    count, after = decoded(tmp_path)
    assert count == 8
    assert before.digest != after.digest


def test_another_size_is_decoded_anew(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    assert [decoded(tmp_path, size=size)[0] for size in (8, 7, 8)] == [8, 8, 0]


def cut_short(data: bytes) -> bytes:
    return data[: len(data) // 2]


def one_pixel_changed(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def replaced_by_json(_: bytes) -> bytes:
    return b'{"not": "tensors"}'


def emptied(_: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut_short, one_pixel_changed, replaced_by_json, emptied])
def test_a_damaged_cache_is_logged_and_built_again(
    damage: Callable[[bytes], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    _, whole = decoded(tmp_path)
    (file,) = (tmp_path / "store/datasets").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    with caplog.at_level(logging.WARNING):
        count, again = decoded(tmp_path)
    assert count == 8
    assert_same(whole, again)
    assert f"{file} is damaged and will be built again" in caplog.text
    assert decoded(tmp_path)[0] == 0


def test_a_cache_that_cannot_be_written_costs_time_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    (tmp_path / "store").write_text("a file where a folder should be")
    assert decoded(tmp_path)[0] == 8
    assert "cannot be kept" in caplog.text


def test_progress_counts_to_the_total(tmp_path: Path) -> None:
    unpack(tiny() | {f"train/a/{i}.png": png(i) for i in range(10, 300)}, tmp_path / "data/pets")
    told: list[tuple[int, int]] = []
    load_dataset(
        "pets",
        tmp_path / "data",
        Files(tmp_path / "store"),
        progress=lambda done, total: told.append((done, total)),
    )
    done = [done for done, _ in told]
    assert done == sorted(set(done))
    assert len(done) > 2
    assert told[-1] == (298, 298)
    assert {total for _, total in told} == {298}


def test_progress_may_stop_the_work(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")

    def stop(_: int, __: int) -> None:
        raise JobCancelled

    with pytest.raises(JobCancelled):
        load_dataset("pets", tmp_path / "data", Files(tmp_path / "store"), progress=stop)
    assert not (tmp_path / "store").exists()
    assert decoded(tmp_path)[0] == 8
