"""The report of an ensemble: what takes more than a number to see, as JSON-ready data.

::

    curves                      "teacher 0", "member 3", …: what every epoch of it reported
    splits.<split>
        reliability.pooled      bins of confidence, as training.calibration.reliability returns
        reliability.calibrated  the same at the ensemble's temperature
        confusion               over, names, counts; null where there are too many classes
        class_accuracy          of the pooled answer, by class name
        per_class               the same by class id
        confusions              true, predicted, count: the pairs of classes that are taken for one
                                another most often, by class id, at most 50

Reports that were made before there were ``per_class`` and ``confusions`` stay without.

Numbers for whole splits, and accuracy by number of members, are in the manifest's metrics.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from training.calibration import calibrate, reliability
from training.metrics import confusion, pool
from training.superclasses import superclasses_of

MOST_CONFUSIONS = 50
"""Pairs of classes that are named one by one."""

MOST_CLASSES_CONFUSED = 30
"""Of more classes nobody can read a matrix of who was taken for whom."""


def report_of(
    predictions: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    classes: Sequence[str],
    temperature: float,
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Return the report of one ensemble, as drawn in this module's docstring.

    Args:
        predictions: log-probabilities of every member by split, float [m, n, k] each.
        labels: by the same splits, int64 [n] each.
        classes: the k class names in id order.
        temperature: of the calibrated softmax.
        curves: what every epoch of each network reported, such as ``epoch_to_dict`` returns.
    """
    return {
        "curves": {name: [dict(epoch) for epoch in curve] for name, curve in curves.items()},
        "splits": {
            split: _split_report(pool(predictions[split]), labels[split], classes, temperature)
            for split in predictions
        },
    }


def _split_report(
    pooled: Tensor, labels: Tensor, classes: Sequence[str], temperature: float
) -> dict[str, Any]:
    class_accuracy = _class_accuracy(pooled, labels, classes)
    return {
        "reliability": {
            "pooled": reliability(pooled, labels),
            "calibrated": reliability(calibrate(pooled, temperature), labels),
        },
        "confusion": _confusion_report(pooled, labels, classes),
        "class_accuracy": class_accuracy,
        "per_class": list(class_accuracy.values()),
        "confusions": _confusions(pooled, labels),
    }


def _confusion_report(
    pooled: Tensor, labels: Tensor, classes: Sequence[str]
) -> dict[str, Any] | None:
    """Count who was taken for whom among superclasses, or classes where there are none."""
    if found := superclasses_of(classes):
        over, (names, groups) = "superclasses", found
    elif len(classes) <= MOST_CLASSES_CONFUSED:
        over, names, groups = "classes", tuple(classes), tuple(range(len(classes)))
    else:
        return None
    counts = confusion(pooled, labels, torch.tensor(groups))
    return {"over": over, "names": list(names), "counts": counts.tolist()}


def _confusions(pooled: Tensor, labels: Tensor) -> list[dict[str, int]]:
    """Return the most frequent mistakes, the first of several that are equally frequent first."""
    predicted, k = pooled.argmax(dim=1), pooled.shape[1]
    wrong = predicted != labels
    cells, counts = (labels[wrong] * k + predicted[wrong]).unique(return_counts=True)  # type: ignore[no-untyped-call]
    order = counts.argsort(descending=True, stable=True)[:MOST_CONFUSIONS]
    return [
        {"true": cell // k, "predicted": cell % k, "count": count}
        for cell, count in zip(cells[order].tolist(), counts[order].tolist(), strict=True)
    ]


def _class_accuracy(
    pooled: Tensor, labels: Tensor, classes: Sequence[str]
) -> dict[str, float | None]:
    """Return the share of each class's pictures that were recognised; none without pictures."""
    right = labels[pooled.argmax(dim=1) == labels]
    of_class, right_of_class = (
        of.bincount(minlength=len(classes)).tolist() for of in (labels, right)
    )
    return {
        name: hits / count if count else None
        for name, count, hits in zip(classes, of_class, right_of_class, strict=True)
    }
