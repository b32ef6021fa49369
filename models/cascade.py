"""A cascade: members answer in turn, and a picture whose class the rest will not change is done.

Shape legend: m members, n pictures, k classes, s members of a stage, r pictures still open.
Entropies are in nats.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.uncertainty import entropy


@dataclass(frozen=True)
class CascadeFigures:
    """What a cascade saves and costs, on pictures that did not choose its rule.

    Attributes:
        pictures: on which it was measured.
        mean_members: asked for a picture.
        accuracy_lost: against asking all members; negative where leaving some out did good.
        accuracy_lost_error: its standard error over pictures.
        agreement: share of pictures that get the class all members give them.
    """

    pictures: int
    mean_members: float
    accuracy_lost: float
    accuracy_lost_error: float
    agreement: float


@dataclass(frozen=True)
class CascadeFit:
    """When a picture needs no further member.

    Attributes:
        thresholds: for j = 1 … m-1, the margin that settles a picture after j members: that
            between the two likeliest classes of their average. Above 1: never.
        halves: each half of validation, measured by the rule that the other half chose.
    """

    thresholds: tuple[float, ...]
    halves: tuple[CascadeFigures, CascadeFigures]

    @property
    def stated(self) -> CascadeFigures:
        """The halves' figures together, which differ from each other by luck."""
        one, other = self.halves
        pictures = one.pictures + other.pictures
        of_one, of_other = one.pictures / pictures, other.pictures / pictures
        return CascadeFigures(
            pictures=pictures,
            mean_members=of_one * one.mean_members + of_other * other.mean_members,
            accuracy_lost=of_one * one.accuracy_lost + of_other * other.accuracy_lost,
            accuracy_lost_error=math.hypot(
                of_one * one.accuracy_lost_error, of_other * other.accuracy_lost_error
            ),
            agreement=of_one * one.agreement + of_other * other.agreement,
        )


def cascade_from_dict(data: dict[str, Any]) -> CascadeFit:
    """Build a fit from what ``dataclasses.asdict`` made of it.

    Raises:
        ValueError, TypeError, KeyError: a field is missing, unknown or no possible value.
    """
    one, other = (CascadeFigures(**half) for half in data["halves"])
    thresholds = tuple(map(float, data["thresholds"]))
    fit = CascadeFit(**{**data, "thresholds": thresholds, "halves": (one, other)})
    for name, fine in (
        ("thresholds", len(thresholds) > 0),
        ("thresholds", all(math.isfinite(value) and value >= 0 for value in thresholds)),
        ("halves.pictures", min(one.pictures, other.pictures) > 0),
        ("halves", all(map(math.isfinite, (*vars(one).values(), *vars(other).values())))),
    ):
        if not fine:
            raise ValueError(name)
    return fit


def margin(average: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return by how much the likeliest class leads, the last dimension of [..., k] gone."""
    two = np.partition(average, -2)[..., -2:]
    difference: npt.NDArray[Any] = two[..., 1] - two[..., 0]
    return difference


def settled(average: npt.NDArray[Any], members: int, fit: CascadeFit) -> npt.NDArray[np.bool]:
    """Return which pictures need no further member, bool [n].

    Args:
        average: probabilities, mean over the members asked so far, float [n, k].
        members: how many these are, j; from m on, everything is settled.
        fit: of the ensemble.
    """
    if members > len(fit.thresholds):
        return np.ones(len(average), np.bool)
    enough: npt.NDArray[np.bool] = margin(average) >= fit.thresholds[members - 1]
    return enough


@dataclass(frozen=True)
class Answers:
    """Answers to n pictures, each by the members it was asked of.

    Attributes:
        probabilities: average over these members, float64 [n, k].
        entropy: of that average, [n].
        mutual_information: what these members do not agree about, [n]; zero for a single one.
        agreement: share of them whose likeliest class is the answer, [n]; one for a single one.
        members_used: how many they are, int64 [n].
        votes: each member's likeliest class, int64 [m, n]; -1 where it was not asked.
        certainty: the probability that it gives this class, float64 [m, n]; 0 where not asked.
    """

    probabilities: Tensor
    entropy: Tensor
    mutual_information: Tensor
    agreement: Tensor
    members_used: Tensor
    votes: Tensor
    certainty: Tensor


def cascade(
    answer: Callable[[range, Tensor], Tensor],
    pictures: int,
    stages: Sequence[range],
    fit: CascadeFit,
) -> Answers:
    """Ask stage after stage about the pictures that are still open.

    Args:
        answer: returns the probabilities [s, r, k] that the members of a stage give to the
            pictures of some rows, int64 [r], in ascending order.
        pictures: how many, n; at least one.
        stages: runs of members that follow one another, the first from 0. Where they end before
            the last member, pictures still open then keep the answer they have.
        fit: of the ensemble. It was chosen to be asked after every member; asked after every
            stage, pictures are left at a later member or at the same.

    Raises:
        ValueError: there is no picture, or the stages are no such runs.
    """
    last = [0, *(stage.stop for stage in stages)]
    if not stages or any(not stage or stage.step != 1 for stage in stages):
        raise ValueError(f"stages must be runs of members, not {stages}")
    if [stage.start for stage in stages] != last[:-1]:
        raise ValueError(f"stages must follow one another from member 0, not {stages}")
    if pictures < 1:
        raise ValueError("a cascade needs a picture")
    # In NumPy: PyTorch lets go of the interpreter's lock with each operation, and under load waits
    # for the event loop to get it back.
    rows = np.arange(pictures)  # [r]: those still open
    asked = np.empty(0, np.float32)  # [m, n, k]; zeros where a member was not asked
    sums = np.empty(0)
    used = np.zeros(pictures, np.int64)
    for stage in stages:
        members = answer(stage, torch.from_numpy(rows)).numpy()  # [s, r, k]
        if stage.start == 0:
            classes = members.shape[-1]
            asked = np.zeros((last[-1], pictures, classes), members.dtype)
            sums = np.zeros((pictures, classes))
        asked[stage.start : stage.stop, rows] = members
        sums[rows] += members.sum(axis=0, dtype=np.double)
        used[rows] = stage.stop
        rows = rows[~settled(sums[rows] / stage.stop, stage.stop, fit)]
        if not len(rows):
            break
    given, members_used = torch.from_numpy(asked).double(), torch.from_numpy(used)
    average = torch.from_numpy(sums / used[:, None])
    of_average, of_members = entropy(average), entropy(given).sum(dim=0)
    best = given.max(dim=-1)
    votes = best.indices.where(torch.arange(last[-1])[:, None] < members_used, -1)
    return Answers(
        probabilities=average,
        entropy=of_average,
        mutual_information=(of_average - of_members / members_used).clamp(min=0),
        agreement=(votes == average.argmax(dim=-1)).sum(dim=0) / members_used.double(),
        members_used=members_used,
        votes=votes,
        certainty=best.values,
    )
