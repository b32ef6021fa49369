"""Tiny data sets of two classes, in folders and archives, for the tests of data sets."""

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image

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


def as_a_zip_per_split(data: Path) -> None:
    pack(below("train/", tiny()), data / "pets/train.zip")
    pack(below("test/", tiny()), data / "pets/TEST.ZIP")


def as_a_folder_and_a_zip(data: Path) -> None:
    unpack(below("train/b", tiny()), data / "pets")
    pack(below("train/a", tiny()), data / "pets/more.zip")
    pack(below("test", tiny()), data / "pets.zip")
