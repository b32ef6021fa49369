"""Data sets: the same pictures give the same tensors however they are packed, decoded once."""

import hashlib
import logging
import os
import pickle
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.errors import InvalidDataset, JobCancelled
from models.files import Files
from training.datasets import Dataset, load_dataset

Tree = dict[str, bytes]  # path in the tree: bytes of the file


def png(seed: int, size: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def tiny() -> Tree:
    """Two classes with three training pictures and one test picture each."""
    tree = {f"train/{c}/{i}.png": png(10 * k + i) for k, c in enumerate("ab") for i in range(3)}
    return tree | {"test/a/0.png": png(100), "test/b/0.png": png(101)}


def unpack(tree: Tree, folder: Path) -> None:
    for name, data in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def pack(tree: Tree, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in tree.items():
            archive.writestr(name, data)


def below(prefix: str, tree: Tree) -> Tree:
    return {name: data for name, data in tree.items() if name.startswith(prefix)}


def load(tmp_path: Path, name: str = "pets", size: int = 8, cache: str = "store") -> Dataset:
    return load_dataset(name, tmp_path / "data", Files(tmp_path / cache), size=size)


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.digest == other.digest
    assert one.classes == other.classes
    for split in ("train", "validation", "test"):
        ours, theirs = getattr(one, split), getattr(other, split)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            assert torch.equal(ours.images, theirs.images)
            assert torch.equal(ours.labels, theirs.labels)


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


# However it is packed.


def as_one_zip_inside(data: Path) -> None:
    pack(tiny(), data / "pets/all.zip")


def as_a_zip_per_split(data: Path) -> None:
    pack(below("train/", tiny()), data / "pets/train.zip")
    pack(below("test/", tiny()), data / "pets/TEST.ZIP")


def as_a_class_per_zip(data: Path) -> None:
    pack(below("train/a", tiny()), data / "pets/train-1of2.zip")
    pack(below("train/b", tiny()) | below("test", tiny()), data / "pets/train-2of2.zip")


def as_a_zip_beside(data: Path) -> None:
    pack(tiny(), data / "pets.zip")


def as_a_zip_around_a_folder(data: Path) -> None:
    pack({f"some pets/{name}": picture for name, picture in tiny().items()}, data / "pets.zip")


def as_a_folder_and_a_zip(data: Path) -> None:
    unpack(below("train/b", tiny()), data / "pets")
    pack(below("train/a", tiny()), data / "pets/more.zip")
    pack(below("test", tiny()), data / "pets.zip")


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
