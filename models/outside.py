"""Pictures of none of the classes: told by how unsure the pooled answer is.

Shape legend: n pictures, k classes. Entropies are in nats.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

SCORE = "predictive_entropy"
"""The only score in use: H(mean_m p), as ``training.metrics.ood_scores`` names it."""


@dataclass(frozen=True)
class OutsideFit:
    """From which score on a picture is taken for one of none of the classes.

    Attributes:
        score: name of the score.
        threshold: a picture that scores more is taken to be from outside.
        asked_rate: of ordinary pictures that may be taken so.
        stated_rates: of ordinary pictures that were: those of each half of validation, by the
            threshold of the other half.
        pictures: of validation, both halves.
    """

    score: str
    threshold: float
    asked_rate: float
    stated_rates: tuple[float, float]
    pictures: int

    @property
    def stated_rate(self) -> float:
        """Ordinary pictures taken to be from outside, mean of both halves."""
        return sum(self.stated_rates) / 2


def looks_outside(entropies: Tensor, fit: OutsideFit) -> Tensor:
    """Return whether each picture looks like none of the classes, bool [n].

    Args:
        entropies: of the average of the members' probabilities, not calibrated, float [n].
        fit: of the ensemble.
    """
    return entropies > fit.threshold


def outside_from_dict(data: dict[str, Any]) -> OutsideFit:
    """Build a fit from what ``dataclasses.asdict`` made of it.

    Raises:
        ValueError, TypeError, KeyError: a field is missing, unknown or no possible value.
    """
    first, second = map(float, data["stated_rates"])
    fit = OutsideFit(**{**data, "stated_rates": (first, second)})
    for name, fine in (
        ("score", fit.score == SCORE),
        ("threshold", math.isfinite(fit.threshold)),
        ("asked_rate", 0 < fit.asked_rate < 1),
        ("stated_rates", 0 <= first <= 1 and 0 <= second <= 1),
        ("pictures", isinstance(fit.pictures, int) and fit.pictures > 0),
    ):
        if not fine:
            raise ValueError(name)
    return fit
