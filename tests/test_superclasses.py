"""CIFAR-100's superclasses, against the published ids and the real class names."""

import os
import random
import zipfile
from pathlib import Path

import pytest

from training.superclasses import SUPERCLASSES, superclasses_of

CLASSES = sorted(name for classes in SUPERCLASSES.values() for name in classes)

COARSE_IDS = [
    *(4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7),
    *(6, 13, 15, 3, 15, 0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10),
    *(16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16),
    *(12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0, 17, 8, 14, 13),
]
"""The coarse label of each fine one, as the published files have them."""


def test_there_are_20_of_5_classes_each() -> None:
    assert len(SUPERCLASSES) == 20
    assert {len(classes) for classes in SUPERCLASSES.values()} == {5}
    assert len(set(CLASSES)) == 100


def test_they_are_those_of_the_published_files() -> None:
    found = superclasses_of(CLASSES)
    assert found is not None
    names, groups = found
    assert list(groups) == COARSE_IDS
    assert names[0] == "aquatic_mammals"
    assert names[19] == "vehicles_2"


def test_a_class_is_found_by_its_name_whatever_its_id() -> None:
    shuffled = random.Random(0).sample(CLASSES, 100)
    found = superclasses_of(shuffled)
    assert found is not None
    names, groups = found
    assert names[groups[shuffled.index("rocket")]] == "vehicles_2"
    assert names[groups[shuffled.index("ray")]] == "fish"


@pytest.mark.parametrize("classes", [["cat", "dog"], CLASSES[:99], [*CLASSES, "dog"]])
def test_other_data_sets_have_none(classes: list[str]) -> None:
    assert superclasses_of(classes) is None


@pytest.mark.real_data
def test_the_real_cifar100_calls_its_classes_like_this() -> None:
    beside = Path(__file__).parents[1].parent / "shared/datasets"
    folder = Path(os.environ.get("STILLHOUSE_TEST_DATA", beside))
    if not (folder / "cifar100/test.zip").is_file():
        pytest.skip(f"the real CIFAR-100 is not at {folder}; set STILLHOUSE_TEST_DATA")
    with zipfile.ZipFile(folder / "cifar100/test.zip") as archive:
        classes = sorted({name.split("/")[1] for name in archive.namelist()})
    assert classes == CLASSES
