"""The report of an ensemble: what it counts, and that it is plain JSON."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor

from training.calibration import calibrate, reliability
from training.metrics import pool
from training.report import MOST_CLASSES_CONFUSED, MOST_CONFUSIONS, report_of
from training.superclasses import SUPERCLASSES

CURVES = {
    "teacher 0": [{"epoch": 1, "epochs": 1, "train_loss": 2.0, "val_accuracy": 0.5}],
    "member 0": [
        {"epoch": 1, "epochs": 2, "train_loss": 3.0, "val_accuracy": 0.3},
        {"epoch": 2, "epochs": 2, "train_loss": 2.5, "val_accuracy": 0.4},
    ],
}


def answering(answers: list[int], classes: int) -> Tensor:
    """Return log-probabilities of two members that give these answers, [2, n, k]."""
    one = torch.nn.functional.one_hot(torch.tensor(answers), classes).double()
    return torch.stack([one.log_softmax(dim=1), (2 * one).log_softmax(dim=1)])


def report(answers: list[int], labels: list[int], classes: list[str]) -> Any:
    predictions = {"validation": answering(answers, len(classes))}
    made = report_of(predictions, {"validation": torch.tensor(labels)}, classes, 0.5, CURVES)
    return made["splits"]["validation"]


def test_it_is_plain_json_with_the_curves_as_they_were_told() -> None:
    predictions = {"validation": answering([0, 1], 2), "test": answering([0, 1, 1], 2)}
    labels = {"validation": torch.tensor([0, 1]), "test": torch.tensor([0, 1, 0])}
    made = report_of(predictions, labels, ("cat", "dog"), 1.0, CURVES)
    assert json.loads(json.dumps(made, allow_nan=False)) == made
    assert made["curves"] == CURVES
    assert list(made["splits"]) == ["validation", "test"]


def test_reliability_is_that_of_the_pooled_and_of_the_calibrated_answer() -> None:
    predictions, labels = torch.randn(3, 50, 4).log_softmax(dim=-1), torch.arange(50) % 4
    made = report_of({"test": predictions}, {"test": labels}, list("abcd"), 0.5, {})
    found, pooled = made["splits"]["test"]["reliability"], pool(predictions)
    assert found["pooled"] == reliability(pooled, labels)
    assert found["calibrated"] == reliability(calibrate(pooled, 0.5), labels)
    assert found["calibrated"] != found["pooled"]


def test_classes_of_cifar100_are_confused_by_superclass() -> None:
    classes = sorted(name for of_one in SUPERCLASSES.values() for name in of_one)
    shows = [classes.index(name) for name in ("oak_tree", "oak_tree", "trout", "trout")]
    said = [classes.index(name) for name in ("oak_tree", "pine_tree", "whale", "shark")]
    found = report(said, shows, classes)["confusion"]
    assert found["over"] == "superclasses"
    assert found["names"] == list(SUPERCLASSES)
    trees, fish, mammals = map(found["names"].index, ("trees", "fish", "aquatic_mammals"))
    assert found["counts"][trees][trees] == 2
    assert found["counts"][fish][mammals] == 1
    assert found["counts"][fish][fish] == 1
    assert sum(map(sum, found["counts"])) == 4


def test_few_classes_are_confused_one_by_one() -> None:
    found = report([0, 1, 1], [0, 0, 1], ["cat", "dog"])["confusion"]
    assert found == {"over": "classes", "names": ["cat", "dog"], "counts": [[1, 1], [0, 1]]}


@pytest.mark.parametrize("more", [0, 1])
def test_of_too_many_classes_there_is_no_matrix(more: int) -> None:
    classes = [f"class {index}" for index in range(MOST_CLASSES_CONFUSED + more)]
    assert (report([0], [0], classes)["confusion"] is None) == (more == 1)


def test_each_class_has_its_accuracy_unless_no_picture_shows_it() -> None:
    found = report([0, 1, 1, 1], [0, 0, 1, 1], ["cat", "dog", "eel"])
    assert found["class_accuracy"] == {"cat": 0.5, "dog": 1.0, "eel": None}


def test_each_class_has_its_accuracy_by_id_too() -> None:
    found = report([0, 1, 1, 1], [0, 0, 1, 1], ["cat", "dog", "eel"])
    assert found["per_class"] == [0.5, 1.0, None]


def test_the_most_frequent_confusions_come_first() -> None:
    shows, says = [0, 0, 1, 2, 2, 2, 1], [1, 1, 2, 0, 0, 2, 1]
    assert report(says, shows, ["cat", "dog", "eel"])["confusions"] == [
        {"true": 0, "predicted": 1, "count": 2},
        {"true": 2, "predicted": 0, "count": 2},
        {"true": 1, "predicted": 2, "count": 1},
    ]
    assert report([0, 1], [0, 1], ["cat", "dog"])["confusions"] == []


def test_of_many_confusions_fifty_are_named() -> None:
    classes = [f"class {index}" for index in range(100)]
    found = report([(index + 1) % 100 for index in range(100)], list(range(100)), classes)
    assert len(found["confusions"]) == MOST_CONFUSIONS == 50
