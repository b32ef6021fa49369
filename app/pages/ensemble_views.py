"""What pages show of an ensemble: its manifest and report, laid out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.pages.charts import LineChart, Series, lines
from app.schemas import EnsembleDetail, EnsembleSummary

COLUMNS: Mapping[str, tuple[str, bool]] = {
    "val_accuracy": ("right, validation", True),
    "test_accuracy": ("right, test", True),
    "val_nll": ("NLL", False),
    "val_ece": ("ECE", False),
    "members": ("members", True),
    "seconds": ("time for 32 pictures", False),
    "bytes": ("size", False),
    "created_at": ("made", True),
}
"""What the list can be sorted by: what it is called, and whether more is better."""

FEW = 12
"""Classes that are shown of those known worst and best."""

MOST_CONFUSED = 12


def sort(ensembles: Sequence[EnsembleSummary], column: str) -> list[EnsembleSummary]:
    """Return ensembles, the best first; those without the figure last.

    Args:
        ensembles: newest first.
        column: one of ``COLUMNS``; the serving one comes first if it is none of them.
    """
    if column not in COLUMNS:
        return sorted(ensembles, key=lambda each: not each.serving)
    _, more_is_better = COLUMNS[column]
    known = [each for each in ensembles if getattr(each, column) is not None]
    unknown = [each for each in ensembles if getattr(each, column) is None]
    known.sort(key=lambda each: getattr(each, column), reverse=more_is_better)
    return known + unknown


@dataclass(frozen=True)
class Figures:
    """One row of the table of what is reached."""

    name: str
    accuracy: float
    top5_accuracy: float
    nll: float
    ece: float


@dataclass(frozen=True)
class Confusion:
    """Two classes that are taken for one another."""

    true: str
    predicted: str
    count: int


@dataclass(frozen=True)
class EnsembleView:
    """An ensemble, laid out; what its manifest or report lacks is none or empty.

    Attributes:
        split: which pictures the figures are of: ``test`` where there are some.
        pictures: how many of them.
        figures: of the members' mean, together, and calibrated.
        members: accuracy of each.
        diversity: how much members differ, by name.
        by_members: accuracy against how many are asked.
        reliability: bins as ``charts.reliability`` takes them, by what is shown.
        confusion: names and rates of who is taken for whom, or none.
        confusions: pairs that are most often taken for one another.
        classes: name and accuracy of each, the worst first.
    """

    split: str
    pictures: int | None
    figures: tuple[Figures, ...]
    members: tuple[float, ...]
    diversity: Mapping[str, float]
    by_members: LineChart | None
    reliability: Mapping[str, Sequence[tuple[float, float, float, int]]]
    confusion: Mapping[str, Any] | None
    confusions: tuple[Confusion, ...]
    classes: tuple[tuple[str, float], ...]

    @property
    def worst(self) -> Sequence[tuple[str, float]]:
        """Classes that it knows worst."""
        return self.classes[:FEW]

    @property
    def best(self) -> Sequence[tuple[str, float]]:
        """Classes that it knows best, of those that are not among the worst."""
        return self.classes[FEW:][-FEW:][::-1]


_ROWS = (
    ("members_mean", "a member, on average"),
    ("pooled", "together"),
    ("calibrated", "together, calibrated"),
)


def view(ensemble: EnsembleDetail, report: Mapping[str, Any] | None) -> EnsembleView:
    """Lay out an ensemble.

    Args:
        ensemble: as the service tells of it.
        report: its report; none if it keeps none.
    """
    metrics = ensemble.metrics
    split = "test" if metrics.get("test") else "validation"
    found = metrics[split]
    of_split = (report or {}).get("splits", {}).get(split, {})
    names = ensemble.classes
    accuracies = of_split.get("class_accuracy") or {}
    return EnsembleView(
        split=split,
        pictures=found.get("pictures"),
        figures=tuple(_figures(found)),
        members=tuple(each["accuracy"] for each in found.get("members", ())),
        diversity=found.get("diversity") or {},
        by_members=_by_members(metrics),
        reliability={
            name: [
                (each["low"], each["confidence"] or 0.0, each["accuracy"] or 0.0, each["count"])
                for each in of_split["reliability"][name]
            ]
            for name in ("pooled", "calibrated")
            if of_split.get("reliability")
        },
        confusion=of_split.get("confusion"),
        confusions=tuple(
            Confusion(names[each["true"]], names[each["predicted"]], each["count"])
            for each in (of_split.get("confusions") or ())[:MOST_CONFUSED]
        ),
        classes=tuple(
            sorted(
                ((name, share) for name, share in accuracies.items() if share is not None),
                key=lambda item: item[1],
            )
        ),
    )


def _figures(found: Mapping[str, Any]) -> list[Figures]:
    keys = ("accuracy", "top5_accuracy", "nll", "ece")
    return [
        Figures(name, **{key: found[row][key] for key in keys})
        for row, name in _ROWS
        if set(keys) <= found.get(row, {}).keys()
    ]


def _by_members(metrics: Mapping[str, Any]) -> LineChart | None:
    series = [
        Series(split, [(row["members"], row["accuracy"]) for row in found["by_members"]])
        for split, found in metrics.items()
        if found and len(found.get("by_members", ())) > 1
    ]
    if not series:
        return None
    most = max(x for each in series for x, _ in each.points)
    return lines(series, "members asked", "accuracy", percent=True, x_bounds=(0, most))
