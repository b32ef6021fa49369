"""Fitting the sets of ``models/conformal.py``: on three parts of validation, each used once.

A seeded permutation makes the parts, so that their pictures are exchangeable, which is all that
conformal prediction asks for; validation itself is sorted by class.

1. λ and k_reg are chosen on the first part, by the smallest sets.
2. Thresholds from the second part are tried on the third: the coverage and size that are stated.
3. What is kept to answer with are the scores of the second and the third part together. Neither
   chose λ or k_reg, so the promise holds for them as it does for the second alone, and twice the
   pictures make a threshold that depends less on luck. What is stated is of the same procedure
   with half of these pictures.

The temperature of the probabilities is fitted on all of validation: one number, which conformal
prediction does not mind but for the exchangeability of its pictures with later ones; measured on
CIFAR-100's test split, coverage stays within its error.

Shape legend: n pictures, k classes.
"""

import math

import torch
from torch import Tensor

from models.conformal import ConformalFit, Coverage, late_ranks, likelier, set_sizes

SEED = 0
STATED_RATES = (0.8, 0.9, 0.95)
"""Rates at which sets are to be small, and for which coverage is stated."""
KEPT_SCORES = 1000
DECIMALS = 6
"""Of a kept score, which is rounded up: engines differ by more, and the file stays small."""

_PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_UNPENALISED = (1, 2, 3, 5, 8, 13, 21, 34)


def fit_conformal(probabilities: Tensor, labels: Tensor) -> ConformalFit | None:
    """Fit sets that hold the right class at any rate, as this module's docstring says.

    Args:
        probabilities: calibrated, of the pooled answers, float [n, k].
        labels: int64 [n], of pictures that neither members nor teacher were trained on.

    Returns:
        None for fewer than three pictures, of which no part could be made for each use.
    """
    if len(labels) < 3:
        return None
    before, ranks = _ranked(probabilities, labels)
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SEED))
    choosing, calibrating, stating = shuffled.tensor_split(3)
    penalty, unpenalised = _choose(before[choosing], ranks[choosing])
    trial = _fit(before[calibrating], ranks[calibrating], penalty, unpenalised)
    stated = tuple(_measure(before[stating], ranks[stating], rate, trial) for rate in STATED_RATES)
    both = torch.cat((calibrating, stating))
    return _fit(before[both], ranks[both], penalty, unpenalised, stated)


def measure_sets(probabilities: Tensor, labels: Tensor, rate: float, fit: ConformalFit) -> Coverage:
    """Return how often sets hold the right class, and how large they are.

    Args:
        probabilities: calibrated, of the pooled answers, float [n, k].
        labels: int64 [n].
        rate: asked for.
        fit: on other pictures.
    """
    return _measure(*_ranked(probabilities, labels), rate, fit)


def _ranked(probabilities: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of likelier classes [n, k], and each label's rank from 0 on, [n]."""
    before, order = likelier(probabilities)
    return before, (order == labels[:, None]).int().argmax(dim=1)


def _measure(before: Tensor, ranks: Tensor, rate: float, fit: ConformalFit) -> Coverage:
    sizes = set_sizes(before, rate, fit)
    return Coverage(
        rate=rate,
        pictures=len(ranks),
        coverage=(ranks < sizes).double().mean().item(),
        mean_size=sizes.double().mean().item(),
    )


def _choose(before: Tensor, ranks: Tensor) -> tuple[float, int]:
    """Return the λ and k_reg whose sets are smallest, by the geometric mean over stated rates."""
    classes = before.shape[1]
    candidates = [(0.0, 1)]
    candidates += [(p, u) for p in _PENALTIES for u in _UNPENALISED if u < classes]

    def size(candidate: tuple[float, int]) -> float:
        fit = _fit(before, ranks, *candidate)
        sizes = [_measure(before, ranks, rate, fit).mean_size for rate in STATED_RATES]
        return math.prod(sizes)

    return min(candidates, key=size)  # the first of equals: the smaller penalty


def _fit(
    before: Tensor,
    ranks: Tensor,
    penalty: float,
    unpenalised: int,
    stated: tuple[Coverage, ...] = (),
) -> ConformalFit:
    late = late_ranks(before.shape[1], penalty, unpenalised)
    right = before.gather(1, ranks[:, None])[:, 0] + late[ranks]
    lowest_first = right.sort().values.tolist()
    n = len(lowest_first)
    kept = min(n, KEPT_SCORES)
    of_ranks = (lowest_first[-(-(i + 1) * n // kept) - 1] for i in range(kept))  # ⌈(i+1) · n/kept⌉
    unit = 10.0**DECIMALS
    scores = tuple(math.ceil(score * unit) / unit for score in of_ranks)
    return ConformalFit(penalty, unpenalised, n, scores, stated)
