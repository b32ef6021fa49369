"""From pictures to answers: the part of POST /predict that is neither HTTP nor decoding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from app.degrade import Degrade
from models.answering import Answering
from models.cascade import Answers
from models.conformal import prediction_sets
from models.outside import looks_outside

Picture = npt.NDArray[np.uint8]
"""[size, size, 3]"""


@dataclass(frozen=True)
class How:
    """How pictures are to be answered; pictures with the same may share a batch.

    Attributes:
        answering: the ensemble, taken when the request came: whatever is promoted meanwhile, an
            answer comes from one ensemble.
        mode: one of ``models.answering.MODES``.
        max_members: ask only the first so many.
        conformal: rate at which sets of classes are to hold the right one; none for no sets.
        votes: whether each member's own answer is wanted.
    """

    answering: Answering
    mode: str
    max_members: int | None = None
    conformal: float | None = None
    votes: bool = False

    @property
    def costs(self) -> tuple[str, str, int | None]:
        """What a batch's cost depends on."""
        return self.answering.manifest.id, self.mode, self.max_members


@dataclass(frozen=True)
class Answer:
    """The answer to one picture, in plain numbers.

    Attributes:
        probabilities: of the classes, in id order.
        likeliest: class ids, the likeliest first.
        calibrated_probability: of the likeliest.
        uncertainty: entropy, mutual information and agreement.
        outside: whether it looks like none of the classes; none if nobody knows.
        conformal_set: class ids, the likeliest first; none if not asked for.
        members_used: how many members were asked.
        degraded: whether fewer than asked for, since the queue was long.
        votes: class id and probability that each member asked finds likeliest; none if not wanted.
    """

    probabilities: list[float]
    likeliest: list[int]
    calibrated_probability: float
    uncertainty: tuple[float, float, float]
    outside: bool | None
    conformal_set: list[int] | None
    members_used: int
    degraded: bool
    votes: list[tuple[int, float]] | None = None


def answer(
    how: How, pictures: Sequence[Picture], waited_seconds: float, degrade: Degrade | None = None
) -> list[Answer]:
    """Ask an ensemble about a batch of pictures.

    Args:
        how: whom to ask, and how.
        pictures: uint8 [size, size, 3] each.
        waited_seconds: for how long the first of them has waited.
        degrade: when to leave members out; never unless given.
    """
    answering, doubt = how.answering, how.answering.doubt
    all_members = len(answering.manifest.members)
    asked = min(how.max_members or all_members, all_members)
    most = degrade.members(asked, waited_seconds) if degrade else asked
    images = torch.from_numpy(np.stack(pictures))
    found = answering.answer(images, how.mode, most)
    calibrated = answering.calibrated(found.probabilities)
    likeliest = found.probabilities.argsort(dim=-1, descending=True, stable=True)
    sets: Sequence[list[int] | None] = [None] * len(pictures)
    if how.conformal is not None and doubt is not None and doubt.conformal is not None:
        sets = prediction_sets(calibrated, how.conformal, doubt.conformal)
    outside: Sequence[bool | None] = [None] * len(pictures)
    if doubt is not None and doubt.outside is not None:
        outside = looks_outside(found.entropy, doubt.outside).tolist()
    uncertainties = zip(
        found.entropy.tolist(),
        found.mutual_information.tolist(),
        found.agreement.tolist(),
        strict=True,
    )
    rows = zip(
        found.probabilities.tolist(),
        likeliest.tolist(),
        calibrated.gather(1, likeliest[:, :1])[:, 0].tolist(),
        uncertainties,
        outside,
        sets,
        found.members_used.tolist(),
        [most < asked] * len(pictures),
        _votes(found) if how.votes else [None] * len(pictures),
        strict=True,
    )
    return [Answer(*row) for row in rows]


def _votes(found: Answers) -> list[list[tuple[int, float]]]:
    columns = zip(
        found.votes.T.tolist(), found.certainty.T.tolist(), found.members_used.tolist(), strict=True
    )
    return [
        list(zip(votes, certainty, strict=True))[:used]  # members are asked in their order
        for votes, certainty, used in columns
    ]


def to_prediction(
    answer: Answer, filename: str | None, classes: Sequence[str], top_k: int
) -> dict[str, Any]:
    """Return an answer as it is sent, as ``app.schemas.Prediction`` says.

    Put together by hand, which takes a quarter of the time.
    """

    def named(id_: int) -> dict[str, Any]:
        return {
            "label": classes[id_],
            "class_id": id_,
            "probability": answer.probabilities[id_],
        }

    top = [named(id_) for id_ in answer.likeliest[:top_k]]
    entropy, mutual_information, agreement = answer.uncertainty
    sets = answer.conformal_set
    return {
        "filename": filename,
        **top[0],
        "top_k": top,
        "probabilities": answer.probabilities,
        "calibrated_probability": answer.calibrated_probability,
        "uncertainty": {
            "entropy": entropy,
            "mutual_information": mutual_information,
            "agreement": agreement,
            "outside": answer.outside,
        },
        "conformal_set": None if sets is None else [named(id_) for id_ in sets],
        "members_used": answer.members_used,
        "votes": None
        if answer.votes is None
        else [
            {"label": classes[id_], "class_id": id_, "probability": probability}
            for id_, probability in answer.votes
        ],
    }
