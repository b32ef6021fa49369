"""What pages show of a job that the job does not say in so many words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.pages.charts import LineChart, Series, lines
from app.schemas import Job, NetworkProgress


@dataclass(frozen=True)
class Network:
    """A teacher or member, as one line with a bar."""

    name: str
    role: str
    progress: NetworkProgress


@dataclass(frozen=True)
class JobView:
    """One job, laid out.

    Attributes:
        networks: the teachers that are trained for it, then its members.
        accuracy: learning curves of all, on validation pictures.
        loss: the same on what they train on.
        done: members that are finished.
        seconds: it has run for so long, if it began and has ended.
    """

    networks: tuple[Network, ...]
    accuracy: LineChart
    loss: LineChart
    done: int
    seconds: float | None

    @property
    def has_curves(self) -> bool:
        """Whether any epoch is finished."""
        return any(line.last is not None for line in self.loss.lines)


def view(job: Job) -> JobView:
    """Lay out a job."""
    teachers = _networks(job.teachers, "teacher")
    networks = (*teachers, *_networks(job.members, "member"))
    longest = max((each.progress.epochs for each in networks), default=1)
    ended = job.started_at and job.finished_at
    return JobView(
        networks=networks,
        accuracy=_curves(networks, longest, "validation accuracy"),
        loss=_curves(networks, longest, "training loss"),
        done=sum(each.status == "succeeded" for each in job.members),
        seconds=(job.finished_at - job.started_at).total_seconds()  # type: ignore[operator]
        if ended
        else None,
    )


@dataclass(frozen=True)
class Row:
    """One line of a table of two jobs."""

    name: str
    a: str
    b: str

    @property
    def differs(self) -> bool:
        """Whether the two are not the same."""
        return self.a != self.b


@dataclass(frozen=True)
class Comparison:
    """Two jobs side by side."""

    a: Job
    b: Job
    accuracy: LineChart
    loss: LineChart
    results: tuple[Row, ...]
    recipe: tuple[Row, ...]


def compare(a: Job, b: Job) -> Comparison:
    """Lay out two jobs, so that what differs stands out."""
    longest = max((each.epochs for job in (a, b) for each in job.members), default=1)

    def curves(value: str, label: str) -> LineChart:
        return lines(
            [_mean_curve(letter, job, value) for letter, job in (("A", a), ("B", b))],
            "epoch",
            label,
            percent=value == "val_accuracy",
            x_bounds=(0, longest),
        )

    names = [*a.recipe, *(name for name in b.recipe if name not in a.recipe)]
    rows = [Row(name, _told(a.recipe.get(name)), _told(b.recipe.get(name))) for name in names]
    return Comparison(
        a=a,
        b=b,
        accuracy=curves("val_accuracy", "validation accuracy"),
        loss=curves("train_loss", "training loss"),
        results=tuple(_results(a, b)),
        recipe=tuple(sorted(rows, key=lambda row: not row.differs)),
    )


def _networks(found: Sequence[NetworkProgress], role: str) -> tuple[Network, ...]:
    several = len(found) > 1 or role == "member"
    return tuple(
        Network(f"{role} {each.index + 1}" if several else role, role, each) for each in found
    )


def _curves(networks: Sequence[Network], longest: int, label: str) -> LineChart:
    is_accuracy = label == "validation accuracy"
    series = [
        Series(
            each.name,
            [
                (epoch.epoch, epoch.val_accuracy if is_accuracy else epoch.train_loss)
                for epoch in each.progress.curve
            ],
            each.role,
        )
        for each in networks
    ]
    return lines(series, "epoch", label, percent=is_accuracy, x_bounds=(0, longest))


def _mean_curve(letter: str, job: Job, value: str) -> Series:
    """Return the mean over those members that have finished an epoch."""
    epochs: dict[int, list[float]] = {}
    for member in job.members:
        for epoch in member.curve:
            epochs.setdefault(epoch.epoch, []).append(getattr(epoch, value))
    points = [(epoch, sum(found) / len(found)) for epoch, found in sorted(epochs.items())]
    return Series(f"{letter}: members' mean", points)


_FIGURES = (
    ("members' mean accuracy", "members_mean", "accuracy", True),
    ("together", "pooled", "accuracy", True),
    ("together, first five", "pooled", "top5_accuracy", True),
    ("negative log-likelihood, calibrated", "calibrated", "nll", False),
    ("calibration error (ECE), calibrated", "calibrated", "ece", False),
)


def _results(a: Job, b: Job) -> list[Row]:
    def told(job: Job, row: str, figure: str, percent: bool) -> str:
        value = ((job.metrics or {}).get("validation") or {}).get(row, {}).get(figure)
        if value is None:
            return "–"
        return f"{value:.1%}" if percent else f"{value:.3f}"

    rows = [
        Row(name, told(a, row, figure, percent), told(b, row, figure, percent))
        for name, row, figure, percent in _FIGURES
    ]
    return [Row("state", a.status, b.status), *rows]


def _told(value: Any) -> str:
    match value:
        case None | []:
            return "none"
        case dict():
            return ", ".join(f"{name} {_told(each)}" for name, each in value.items())
        case list():
            return "; ".join(_told(each) for each in value)
    return str(value)
