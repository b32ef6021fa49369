"""Fitting the cascade of ``models/cascade.py``: the fewest members at 0.1 point of accuracy lost.

Thresholds have one free number, c: after j of m members the margin must be c·(1/j - 1/m)^¾. The
standard error of the mean of j members, drawn from m without return, goes with the power ½; the
higher one asks more of the first members, whose mistakes cost most. A threshold of its own for
each j fits the pictures it is chosen on better, and others worse (docs/decisions.md).

What a rule loses cannot be read off the labels: 0.1 point of 2,500 pictures is 2.5 pictures, with
a standard error of about 5. So labels tell the loss of a rule that changes many answers, with one
standard error on top, and two properties that need no labels scale it down to stricter rules: the
share of answers that change, and by how much less likely the calibrated answer of all members
holds the class that is given instead of its own. Alone, the first overstates the loss of strict
rules and the second understates it; their mean came out right on others' pictures.

Shape legend: m members, n pictures, k classes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.cascade import CascadeFigures, CascadeFit, margin
from training.calibration import calibrate
from training.metrics import pool

SEED = 0
ACCURACY_LOST = 0.001
"""Accuracy that a cascade may lose against all members, as a share: 0.1 point."""

_POWER = 0.75
_LEAST_COST = 0.05
"""Accuracy lost per changed answer, at least: however little labels tell against it, a cascade is
to give the answer of all members to about 98 pictures of 100."""


def fit_cascade(log_probabilities: Tensor, labels: Tensor, temperature: float) -> CascadeFit | None:
    """Choose thresholds on all pictures, and state what those of each half do to the other.

    Args:
        log_probabilities: of every member in the manifest's order, float [m, n, k].
        labels: int64 [n], of pictures that neither members nor teacher were trained on.
        temperature: of the calibrated softmax of the pooled answer.

    Returns:
        None for one member, which leaves nothing out; and where one half or the other has too few
        pictures to tell that no more is lost than ``ACCURACY_LOST``, which takes some hundreds.
    """
    if len(log_probabilities) < 2 or len(labels) < 2:
        return None
    course = _course(log_probabilities, labels, temperature)
    rows = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
    one, other = (course.of(half) for half in rows.tensor_split(2))  # validation is sorted
    of_all, of_one, of_other = (_choose(part) for part in (course, one, other))
    if of_all is None or of_one is None or of_other is None:
        return None
    return CascadeFit(thresholds=of_all, halves=(_figures(one, of_other), _figures(other, of_one)))


def measure_cascade(
    log_probabilities: Tensor,
    labels: Tensor,
    fit: CascadeFit,
    stages: Sequence[range] | None = None,
) -> CascadeFigures:
    """Return what a cascade saves and costs.

    Args:
        log_probabilities: of every member in the manifest's order, float [m, n, k].
        labels: int64 [n].
        fit: of these members, on other pictures.
        stages: runs of members that are asked at once, as for ``models.cascade.cascade``; one by
            one unless given.
    """
    thresholds = [
        threshold if stages is None or any(stage.stop == j for stage in stages) else math.inf
        for j, threshold in enumerate(fit.thresholds, start=1)
    ]
    return _figures(_course(log_probabilities, labels, temperature=1.0), thresholds)


@dataclass(frozen=True)
class _Course:
    """What n pictures' answers were after 1, 2, … m members; each float64 [m, n]."""

    margins: Tensor
    changed: Tensor  # 1 where the class is another than that of all members
    lost: Tensor  # 1 where all members are right and this answer is not; -1 the other way round
    regret: Tensor  # calibrated probability of all members' class less that of the class given

    def of(self, rows: Tensor) -> "_Course":
        return _Course(
            self.margins[:, rows], self.changed[:, rows], self.lost[:, rows], self.regret[:, rows]
        )

    def stops(self, thresholds: Sequence[float]) -> Tensor:
        """Return after how many members each picture is settled, less one, int64 [1, n]."""
        # At the last member everything is settled.
        at_least = torch.tensor([*thresholds, 0.0], dtype=torch.double)[:, None]
        return (self.margins >= at_least).int().argmax(dim=0, keepdim=True)


def _course(log_probabilities: Tensor, labels: Tensor, temperature: float) -> _Course:
    sums = torch.zeros(log_probabilities.shape[1:], dtype=torch.double)
    calibrated = calibrate(pool(log_probabilities.double()), temperature).exp()  # [n, k]
    answers, margins = [], []
    for j, member in enumerate(log_probabilities, start=1):
        sums += member.double().exp()
        answers.append(sums.argmax(dim=1))
        margins.append(torch.from_numpy(margin((sums / j).numpy())))
    given = torch.stack(answers)  # [m, n]
    of_given = calibrated.gather(1, given.T).T  # [m, n]
    right = (given == labels).double()
    return _Course(
        margins=torch.stack(margins),
        changed=(given != given[-1]).double(),
        lost=right[-1] - right,
        regret=(of_given[-1] - of_given).clamp(min=0),  # below zero by rounding alone
    )


def _thresholds(members: int, strictness: float) -> tuple[float, ...]:
    return tuple(strictness * (1 / j - 1 / members) ** _POWER for j in range(1, members))


def _choose(course: _Course) -> tuple[float, ...] | None:
    """Return the thresholds that ask for the fewest members, if any can be told to be good."""
    members, pictures = course.margins.shape

    def sums(strictness: float) -> tuple[float, float, Tensor]:
        """Return how many change, their regret, and what each picture loses [n]."""
        stops = course.stops(_thresholds(members, strictness))
        changed, regret, lost = (
            of.gather(0, stops)[0] for of in (course.changed, course.regret, course.lost)
        )
        return float(changed.sum()), float(regret.sum()), lost

    half = float(course.changed[0].sum()) / 2  # of those that one member alone changes
    loose = _least(lambda strictness: sums(strictness)[0] <= half, members)
    many, much, lost = sums(loose)
    error = float(lost.std(correction=0)) * math.sqrt(pictures)
    loss = max(float(lost.sum()) + error, _LEAST_COST * many)

    def bearable(strictness: float) -> bool:
        # One picture more than was seen to change may do so, as if it had been there.
        changed, regret, _ = sums(strictness)
        if not many:
            expected = changed + 1
        elif not much:
            expected = loss * (changed + 1) / many
        else:
            expected = loss * ((changed + 1) / many + (regret + much / many) / much) / 2
        return expected / (pictures + 1) <= ACCURACY_LOST

    strictness = _least(bearable, members)
    return _thresholds(members, strictness) if bearable(strictness) else None


def _least(fine: Callable[[float], bool], members: int) -> float:
    """Return the least strictness that is fine by bisection, or that at which nothing stops."""
    low, high = 0.0, 2 * float((members * (members - 1)) ** _POWER)  # there the last one is 2
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if fine(middle) else (middle, high)
    return high


def _figures(course: _Course, thresholds: Sequence[float]) -> CascadeFigures:
    stops = course.stops(thresholds)
    lost = course.lost.gather(0, stops)
    return CascadeFigures(
        pictures=lost.numel(),
        mean_members=stops.double().mean().item() + 1,
        accuracy_lost=lost.mean().item(),
        accuracy_lost_error=lost.std(correction=0).item() / math.sqrt(lost.numel()),
        agreement=1 - course.changed.gather(0, stops).mean().item(),
    )
