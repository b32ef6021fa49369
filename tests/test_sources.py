"""Sources: the packing of a data set does not matter, and what is wrong with it is named."""

import hashlib
import os
import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import InvalidDataset
from tests.trees import (
    Tree,
    as_a_folder_and_a_zip,
    as_a_zip_per_split,
    assert_same,
    below,
    load,
    pack,
    png,
    tiny,
    unpack,
)

# However it is packed.


def as_one_zip_inside(data: Path) -> None:
    pack(tiny(), data / "pets/all.zip")


def as_a_class_per_zip(data: Path) -> None:
    pack(below("train/a", tiny()), data / "pets/train-1of2.zip")
    pack(below("train/b", tiny()) | below("test", tiny()), data / "pets/train-2of2.zip")


def as_a_zip_beside(data: Path) -> None:
    pack(tiny(), data / "pets.zip")


def as_a_zip_around_a_folder(data: Path) -> None:
    pack({f"some pets/{name}": picture for name, picture in tiny().items()}, data / "pets.zip")


def as_links(data: Path) -> None:
    unpack(tiny(), data / "elsewhere")
    (data / "pets").mkdir()
    (data / "pets/train").symlink_to(data / "elsewhere/train")
    (data / "pets/test").symlink_to(data / "elsewhere/test")


def under_other_file_names(data: Path) -> None:
    names = [name.replace("/0.", "/zz.").replace("/1.", "/Ä ö.") for name in tiny()]
    unpack(dict(zip(names, tiny().values(), strict=True)), data / "pets")


def amid_what_file_managers_leave(data: Path) -> None:
    unpack(tiny() | {"train/a/Thumbs.db": b"x", ".DS_Store": b"x", "train/.x/1": b"x",
                     "README.md": b"Pets.", "test/a/._0.png": b"x"}, data / "pets")  # fmt: skip


def zipped_with_what_file_managers_leave(data: Path) -> None:
    pack(tiny() | {"__MACOSX/train/a/._0.png": b"x", ".DS_Store": b"x", "train/a/.DS_Store": b"x",
                   "README.md": b"Pets.", "train/": b""}, data / "pets.zip")  # fmt: skip


@pytest.mark.parametrize(
    "packed",
    [
        as_one_zip_inside,
        as_a_zip_per_split,
        as_a_class_per_zip,
        as_a_zip_beside,
        as_a_zip_around_a_folder,
        as_a_folder_and_a_zip,
        as_links,
        under_other_file_names,
        amid_what_file_managers_leave,
        zipped_with_what_file_managers_leave,
    ],
)
def test_the_packing_does_not_matter(packed: Callable[[Path], None], tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "plain/data/pets")
    (tmp_path / "data").mkdir()
    packed(tmp_path / "data")
    assert_same(load(tmp_path), load(tmp_path / "plain"))


def test_archives_are_read_in_place(tmp_path: Path) -> None:
    as_a_zip_per_split(tmp_path / "data")
    load(tmp_path)
    assert sorted(path.name for path in (tmp_path / "data").rglob("*")) == [
        "TEST.ZIP",
        "pets",
        "train.zip",
    ]


# What is refused, and what it says.


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../pets",
        "pets/../pets",
        "/etc",
        ".hidden",
        "a\\b",
        "a\0b",
        "\ud800",
        "n" * 300,
    ],
)
def test_a_name_with_tricks_is_refused(name: str, tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    with pytest.raises(InvalidDataset, match="is no name of a data set"):
        load(tmp_path, name)


PICTURE = png(1)
PAIR = {"train/a/1.png": PICTURE, "train/b/1.png": PICTURE}


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({}, r"pets: there is no such folder with pictures"),
        ({"README": b"x"}, r"pets: has no train folder"),
        ({"test/a/1.png": PICTURE}, r"pets: has no train folder"),
        ({"train/a/1.png": PICTURE}, r"pets.train: has one class, 'a'"),
        (PAIR | {"train/c/.keep": b""}, r"pets.train.c: has no pictures"),
        (PAIR | {"test/a/1.png": PICTURE}, r"pets.test: .* missing b$"),
        (PAIR | {"val/b/1.png": PICTURE, "val/c/1.png": PICTURE}, r"val: .*missing a; extra c$"),
        (PAIR | {"train/a/x/1.png": PICTURE}, r"pets.train.a.x: must be <split>/<class>/<pict"),
        (PAIR | {"train/1.png": PICTURE}, r"pets.train.1\.png: must be <split>/<class>/<pict"),
        (PAIR | {"valid/a/1.png": PICTURE}, r"pets.valid: 'valid' is none of train, val, test"),
        (PAIR | {"train/a/2.png": b"no picture"}, r"pets.train.a.2\.png: .*no picture"),
        (PAIR | {"train/a/2.png": PICTURE[:80]}, r"pets.train.a.2\.png: .*damaged"),
        (PAIR | {"more.zip": b"no zip"}, r"more\.zip: is no zip archive"),
    ],
)
def test_what_is_wrong_is_named(tree: Tree, says: str, tmp_path: Path) -> None:
    unpack(tree, tmp_path / "data/pets")
    with pytest.raises(InvalidDataset, match=says):
        load(tmp_path)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        (PAIR | {"train/c/": b""}, r"pets.train.c: has no pictures"),
        (PAIR | {"train/a/2.png": b"no picture"}, r"pets\.zip!/train/a/2\.png: .*no picture"),
        (PAIR | {"test/": b""}, r"pets.test: .* missing a, b$"),
        ({"a/1.png": PICTURE, "b/1.png": PICTURE}, r"pets\.zip!/a/1\.png: 'a' is none of train"),
    ],
)
def test_what_is_wrong_in_an_archive_is_named(tree: Tree, says: str, tmp_path: Path) -> None:
    pack(tree, tmp_path / "data/pets.zip")
    with pytest.raises(InvalidDataset, match=says):
        load(tmp_path)


def test_a_picture_that_is_there_twice_is_named_with_both_places(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    pack(below("train/b/1", tiny()), tmp_path / "data/pets.zip")
    with pytest.raises(
        InvalidDataset, match=r"pets\.zip!/train/b/1\.png: is also .*pets.train.b.1\.png"
    ):
        load(tmp_path)


def test_an_entry_damaged_inside_its_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data/pets.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in tiny().items():
            archive.writestr(name, data)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(png(11), png(11)[:-20] + b"x" * 20, 1))
    with pytest.raises(InvalidDataset, match=r"pets\.zip!/train/b/1\.png: Bad CRC"):
        load(tmp_path)


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    unpack(tiny(), tmp_path / "data/pets")
    (tmp_path / "data/pets/train/a/9.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InvalidDataset, match=r"9\.png: No such file"):
        load(tmp_path)


# CIFAR-100.


def test_without_network_cifar100_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing answers there
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(InvalidDataset, match=r"data.cifar100: .*train/<class>/<picture>"):
        load(tmp_path, "cifar100")


def test_the_published_pickles_give_the_same_as_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR100  # type: ignore[import-untyped] # noqa: PLC0415

    pixels = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
    labels = [1, 0, 1, 0, 0, 1, 0, 1]
    for row, (split, label) in enumerate(zip(["train"] * 6 + ["test"] * 2, labels, strict=True)):
        path = tmp_path / f"plain/data/pets/{split}/{'ab'[label]}/{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[row]).save(path)

    flat = pixels.transpose(0, 3, 1, 2).reshape(8, -1)
    files = {
        "train": {"data": flat[:6], "fine_labels": labels[:6]},
        "test": {"data": flat[6:], "fine_labels": labels[6:]},
        "meta": {"fine_label_names": ["a", "b"]},
    }
    (tmp_path / "data/cifar-100-python").mkdir(parents=True)
    checksums = {}
    for name, content in files.items():
        data = pickle.dumps(content)
        (tmp_path / "data/cifar-100-python" / name).write_bytes(data)
        checksums[name] = hashlib.md5(data).hexdigest()  # noqa: S324  what torchvision checks
    monkeypatch.setattr(CIFAR100, "train_list", [["train", checksums["train"]]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", checksums["test"]]])
    monkeypatch.setattr(CIFAR100, "meta", CIFAR100.meta | {"md5": checksums["meta"]})

    for _ in ("decoded", "cached"):
        assert_same(load(tmp_path, "cifar100", size=32), load(tmp_path / "plain", size=32))


@pytest.fixture(scope="module")
def real_data() -> Path:
    beside = Path(__file__).parents[1].parent / "shared/datasets"
    folder = Path(os.environ.get("STILLHOUSE_TEST_DATA", beside))
    if not (folder / "cifar100/test.zip").is_file():
        pytest.skip(f"the real CIFAR-100 is not at {folder}; set STILLHOUSE_TEST_DATA")
    return folder


@pytest.mark.real_data
def test_the_real_cifar100_has_its_own_class_ids_and_pixels(
    real_data: Path, tmp_path: Path
) -> None:
    seen: dict[str, int] = {}
    few: Tree = {}  # of all 60,000, as decoding them takes long
    with zipfile.ZipFile(real_data / "cifar100/test.zip") as whole:
        for info in whole.infolist():
            label = info.filename.split("/")[1]
            seen[label] = seen.get(label, 0) + 1
            if seen[label] <= 10:
                few[info.filename] = whole.read(info)
    pack(few, tmp_path / "data/cifar100/test.zip")
    train = {name.replace("test/", "train/"): few[name] for name in list(few)[::5]}
    pack(train, tmp_path / "data/cifar100/train.zip")

    dataset = load(tmp_path, "cifar100", size=32)
    assert dataset.classes == tuple(sorted(seen))
    known = {0: "apple", 8: "bicycle", 69: "rocket", 99: "worm"}
    assert {i: dataset.classes[i] for i in known} == known
    assert dataset.train.labels.bincount().tolist() == [2] * 100
    assert dataset.test is not None
    assert dataset.test.labels.bincount().tolist() == [10] * 100
    rockets = [data for name, data in few.items() if name.startswith("test/rocket/")]
    expected = {np.array(Image.open(BytesIO(data))).tobytes() for data in rockets}
    loaded = dataset.test.images[dataset.test.labels == 69].permute(0, 2, 3, 1)
    assert {image.contiguous().numpy().tobytes() for image in loaded} == expected
