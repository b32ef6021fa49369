"""Fitting all that says how far an ensemble's answers are to be trusted, on validation pictures.

Shape legend: m members, n pictures, k classes. Log-probabilities are natural logarithms.
"""

import math

import torch
from torch import Tensor

from models.doubt import Doubt
from models.outside import SCORE, OutsideFit
from training.calibration import calibrate
from training.cascade import fit_cascade
from training.conformal import fit_conformal
from training.metrics import ood_scores, pool

SEED = 0
OUTSIDE_RATE = 0.05
"""Share of ordinary pictures that may be taken to be from outside."""


def fit_doubt(log_probabilities: Tensor, labels: Tensor, temperature: float) -> Doubt:
    """Fit sets of classes, the cascade, and the score from which a picture looks foreign.

    Args:
        log_probabilities: of every member in the manifest's order, float [m, n, k].
        labels: int64 [n], of pictures that neither members nor teacher were trained on.
        temperature: of the calibrated softmax of the pooled answer.

    Returns:
        Each fit, or none where there are too few pictures or members for it (``Doubt`` says how
        few).
    """
    calibrated = calibrate(pool(log_probabilities.double()), temperature).exp()
    return Doubt(
        conformal=fit_conformal(calibrated, labels),
        cascade=fit_cascade(log_probabilities, labels, temperature),
        outside=fit_outside(log_probabilities),
    )


def fit_outside(log_probabilities: Tensor) -> OutsideFit | None:
    """Choose the score that only ``OUTSIDE_RATE`` of pictures like these exceed.

    The threshold is the ⌈(n+1)·0.95⌉-th lowest of n scores, so no more of later pictures of the
    same kind exceed it, on average. What is kept is chosen on all; what is stated are the shares
    of each half that exceed the threshold of the other half.

    Args:
        log_probabilities: of every member, float [m, n, k], of ordinary pictures.

    Returns:
        None where a half has fewer than 19 pictures: then not even the highest of its scores is
        exceeded as seldom.
    """
    scores = ood_scores(log_probabilities.double())[SCORE]  # [n]
    rows = torch.randperm(len(scores), generator=torch.Generator().manual_seed(SEED))
    one, other = (scores[half] for half in rows.tensor_split(2))  # validation is sorted by class
    if math.ceil((len(other) + 1) * (1 - OUTSIDE_RATE)) > len(other):
        return None
    return OutsideFit(
        score=SCORE,
        threshold=_quantile(scores),
        asked_rate=OUTSIDE_RATE,
        stated_rates=(
            (one > _quantile(other)).double().mean().item(),
            (other > _quantile(one)).double().mean().item(),
        ),
        pictures=len(scores),
    )


def _quantile(scores: Tensor) -> float:
    rank = math.ceil((len(scores) + 1) * (1 - OUTSIDE_RATE))
    return scores.sort().values[rank - 1].item()
