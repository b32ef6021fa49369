"""Figures of an ensemble's report; ``training/plots.py`` draws them into files.

The only module that needs matplotlib. Figures are drawn without pyplot, so nothing is global and
no display is needed. Colours keep apart in grey and for the colour-blind (Okabe & Ito 2008).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

BLUE, LIGHT_BLUE, ORANGE, GREY = "#0072B2", "#A6CEE3", "#D55E00", "#666666"
DOTS_PER_INCH = 150
MOST_EPOCHS_WITH_DOTS = 30

Curve = Sequence[Mapping[str, Any]]


def save(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Write figures as PNG files and return where they are.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.png" for name in figures]
    for figure, file in zip(figures.values(), files, strict=True):
        figure.savefig(file, dpi=DOTS_PER_INCH)
    return files


class Described(Protocol):
    """What figures need to know of an ensemble: its manifest, or what HTTP tells of it."""

    @property
    def id(self) -> str:
        """Its name, for the titles."""

    @property
    def temperature(self) -> float:
        """Of its calibration."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """By split; they hold ``by_members``."""


def draw_report(ensemble: Described, report: Mapping[str, Any]) -> dict[str, Figure]:
    """Return the figures of a report by the name of their file.

    Reliability and confusion are of the test pictures, or of validation where there are none. Of
    a data set with too many classes for a matrix there is no confusion.

    Args:
        ensemble: whose report it is.
        report: what ``training.report.report_of`` returned.
    """
    split = "test" if "test" in report["splits"] else "validation"
    shown = report["splits"][split]
    of = f"{ensemble.id}, {ensemble.metrics[split]['pictures']:,} {split} pictures"
    by_members = {name: metrics["by_members"] for name, metrics in ensemble.metrics.items()}
    figures = {
        "learning-curves": draw_learning_curves(report["curves"], ensemble.id),
        "reliability": draw_reliability(shown["reliability"], ensemble.temperature, of),
        "members": draw_members(by_members, ensemble.id),
    }
    if confusion := shown["confusion"]:
        figures[confusion["over"]] = draw_confusion(confusion, of)
    return figures


def draw_learning_curves(curves: Mapping[str, Curve], of: str) -> Figure:
    """Draw training loss and validation accuracy of each network by epoch.

    Args:
        curves: by ``teacher 0``, ``member 3`` and so on: ``epoch``, ``train_loss`` and
            ``val_accuracy`` of each epoch.
        of: whose they are, for the title.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    figure.suptitle(f"Learning curves of {of}")
    loss, accuracy = figure.subplots(1, 2)
    kinds = (("member", BLUE, "-", 1.2, 0.7), ("teacher", ORANGE, "--", 2.0, 1.0))
    for kind, colour, style, width, opacity in kinds:
        drawn = [curve for name, curve in curves.items() if name.startswith(kind) and curve]
        for index, curve in enumerate(drawn):
            epochs = [epoch["epoch"] for epoch in curve]
            look: dict[str, Any] = {"color": colour, "linestyle": style, "linewidth": width}
            look |= {"alpha": opacity, "markersize": 4}
            look |= {"marker": "o" if len(epochs) <= MOST_EPOCHS_WITH_DOTS else None}
            if index == 0:  # one entry of the legend for all of a kind
                look["label"] = _ends(kind, [curve[-1]["val_accuracy"] for curve in drawn])
            loss.plot(epochs, [epoch["train_loss"] for epoch in curve], **look)
            accuracy.plot(epochs, [100 * epoch["val_accuracy"] for epoch in curve], **look)
    _label(loss, "epoch", "training loss, mean of the epoch's steps (nats)")
    _label(accuracy, "epoch", "top-1 accuracy on validation (%)")
    accuracy.legend(loc="lower right")
    if any(name.startswith("teacher") for name in curves):
        about = "Teachers learn from labels, members from labels and teacher"
        loss.set_title(f"{about}: two scales", fontsize=9)
    accuracy.set_title("Each network alone", fontsize=9)
    return figure


def _ends(kind: str, accuracies: Sequence[float]) -> str:
    low, high = (f"{100 * value:.1f}" for value in (min(accuracies), max(accuracies)))
    several = f"{len(accuracies)} {kind}s" if len(accuracies) > 1 else f"1 {kind}"
    return f"{several}, at the end {low if low == high else f'{low} to {high}'} %"


def draw_reliability(
    reliability: Mapping[str, Sequence[Mapping[str, Any]]], temperature: float, of: str
) -> Figure:
    """Draw accuracy by confidence, before and after calibration, and how many pictures have which.

    Args:
        reliability: ``pooled`` and ``calibrated``, bins as ``training.calibration.reliability``
            returns them.
        temperature: of the calibration.
        of: whose they are, for the title.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    bins_drawn = len(reliability["pooled"])
    figure.suptitle(f"Reliability of {of}, {bins_drawn} bins of confidence")
    axes = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3, 1])
    titles = {"pooled": "Pooled", "calibrated": f"Pooled and calibrated, T = {temperature:.2f}"}
    for column, (name, title) in enumerate(titles.items()):
        bins = [b for b in reliability[name] if b["count"]]
        pictures = sum(b["count"] for b in bins)
        left = [100 * b["low"] for b in bins]
        width = [100 * (b["high"] - b["low"]) for b in bins]
        right = [100 * b["accuracy"] for b in bins]
        gap = [100 * (b["confidence"] - b["accuracy"]) for b in bins]
        error = sum(b["count"] * abs(b["accuracy"] - b["confidence"]) for b in bins) / pictures
        above, below = axes[:, column]
        boxes: dict[str, Any] = {"width": width, "align": "edge", "edgecolor": "white"}
        above.bar(left, right, color=LIGHT_BLUE, label="accuracy of the bin", **boxes)
        boxes |= {"edgecolor": ORANGE, "hatch": "/////", "linewidth": 1}
        above.bar(
            left, gap, bottom=right, color="none", label="gap to its mean confidence", **boxes
        )
        above.plot([0, 100], [0, 100], "k--", linewidth=1, label="as right as sure")
        above.set_title(f"{title}: ECE {100 * error:.1f} %")
        _label(above, "", "accuracy (%)" if column == 0 else "")
        share = [100 * b["count"] / pictures for b in bins]
        below.bar(left, share, color=GREY, width=width, align="edge", edgecolor="white")
        _label(below, "confidence: probability of the likeliest class (%)", "pictures (%)")
    axes[0, 0].legend(loc="upper left")
    axes[0, 0].set(xlim=(0, 100), ylim=(0, 100))
    axes[1, 1].set_ylabel("")
    return figure


def draw_confusion(confusion: Mapping[str, Any], of: str) -> Figure:
    """Draw which share of each group's pictures was taken for each group.

    Args:
        confusion: ``over`` (what the groups are), ``names`` and ``counts``, as in the report.
        of: whose it is, for the title.
    """
    grouped = confusion["over"] != "classes"
    names = [name.replace("_", " ") if grouped else name for name in confusion["names"]]
    totals = [max(sum(row), 1) for row in confusion["counts"]]
    shares = [
        [100 * count / total for count in row]
        for row, total in zip(confusion["counts"], totals, strict=True)
    ]
    side = max(3.5 + 0.36 * len(names), 6.5)
    figure = Figure(figsize=(side, side), layout="constrained")
    figure.suptitle(f"Confusion of {confusion['over']}\n{of}", fontsize=11)
    axes = figure.subplots()
    # Most of a good matrix lies on its diagonal; the root keeps the few per cent beside it visible.
    axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=100))
    for y, row in enumerate(shares):
        for x, share in enumerate(row):
            if share >= 0.5:
                colour = "white" if share > 35 else "black"
                axes.text(x, y, f"{share:.0f}", ha="center", va="center", color=colour, fontsize=7)
    places = range(len(names))
    axes.set_xticks(places, names, rotation=60, ha="right", fontsize=8, parse_math=False)
    axes.set_yticks(places, names, fontsize=8, parse_math=False)
    axes.set_xlabel("what the likeliest class belongs to" if grouped else "likeliest class")
    axes.set_ylabel("what the picture shows")
    axes.set_title("% of the row's pictures; below 0.5 not written", fontsize=9)
    return figure


def draw_members(by_members: Mapping[str, Sequence[Mapping[str, float]]], of: str) -> Figure:
    """Draw accuracy, negative log-likelihood and calibration error by number of members.

    Args:
        by_members: by split, what ``training.metrics.by_members`` returned.
        of: whose they are, for the title.
    """
    figure = Figure(figsize=(11, 4), layout="constrained")
    figure.suptitle(f"What more members add: {of}, pooled, not calibrated")
    axes = figure.subplots(1, 3)
    looks = {"validation": (ORANGE, "s", "--"), "test": (BLUE, "o", "-")}
    panels = (
        ("accuracy", 100, 1, "top-1 accuracy (%)"),
        ("nll", 1, 3, "negative log-likelihood (nats)"),
        ("ece", 100, 1, "expected calibration error (%)"),
    )
    for panel, (name, scale, digits, meaning) in zip(axes, panels, strict=True):
        for split, found in by_members.items():
            colour, marker, style = looks[split]
            numbers = [at["members"] for at in found]
            values = [scale * at[name] for at in found]
            ends = " → ".join(f"{value:.{digits}f}" for value in (values[0], values[-1]))
            label = f"{split}: {ends}"
            panel.plot(numbers, values, style, color=colour, marker=marker, label=label)
        _label(panel, "number of members", meaning)
        panel.legend()
    axes[1].set_title("each point: mean over every choice of neighbouring members", fontsize=9)
    return figure


def _label(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
