"""Sets of classes that hold the right one as often as is asked for: RAPS.

Regularised adaptive prediction sets (Angelopoulos et al. 2021, "Uncertainty sets for image
classifiers using conformal prediction", arXiv 2009.14193). A class's score is the probability of
all likelier classes, plus a penalty on late ranks; a set holds every class whose score is at most
the threshold, which is a quantile of the scores that the right classes of validation pictures
had. Whatever the network, such a set holds the right class at the rate asked for, over pictures
like those (split conformal prediction: Vovk et al. 2005).

Nothing is drawn at random, so the same picture always gets the same set: u is 0 in the paper's
equations, when thresholds are fitted as when they are used, which keeps the promise. The score of
the likeliest class is then 0, so no set is empty; a rate below the accuracy is answered with
single classes, which are right at the rate of the accuracy and not at the one asked for. With u
at 1 sets are larger, and empty where the network is surest (docs/decisions.md).

Shape legend: n pictures, k classes.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Coverage:
    """What sets asked for at one rate turned out to be, on pictures that decided nothing.

    Attributes:
        rate: asked for.
        pictures: on which it was measured.
        coverage: share of them whose set holds the right class.
        mean_size: classes in a set.
    """

    rate: float
    pictures: int
    coverage: float
    mean_size: float


@dataclass(frozen=True)
class ConformalFit:
    """What it takes to answer with sets, at any rate.

    Attributes:
        penalty: λ, added to the score for each rank after the first ``unpenalised``.
        unpenalised: k_reg, ranks without a penalty.
        pictures: whose right classes' scores the quantiles are of.
        scores: t of these scores, ascending, t at most ``pictures``: those of ranks
            ⌈(i+1) · pictures / t⌉ for i from 0, so the last is the highest.
        stated: how sets turned out; ``training/conformal.py`` says on which pictures.
    """

    penalty: float
    unpenalised: int
    pictures: int
    scores: tuple[float, ...]
    stated: tuple[Coverage, ...]


def conformal_from_dict(data: dict[str, Any]) -> ConformalFit:
    """Build a fit from what ``dataclasses.asdict`` made of it.

    Raises:
        ValueError, TypeError, KeyError: a field is missing, unknown or no possible value.
    """
    scores = tuple(map(float, data["scores"]))
    stated = tuple(Coverage(**of_rate) for of_rate in data["stated"])
    fit = ConformalFit(**{**data, "scores": scores, "stated": stated})
    for name, fine in (
        ("penalty", math.isfinite(fit.penalty) and fit.penalty >= 0),
        ("unpenalised", isinstance(fit.unpenalised, int) and fit.unpenalised > 0),
        ("pictures", isinstance(fit.pictures, int) and fit.pictures >= len(scores)),
        ("scores", len(scores) > 0 and all(map(math.isfinite, scores))),
        ("scores", list(scores) == sorted(scores) and scores[0] >= 0),
        ("stated.rate", all(0 < each.rate < 1 for each in stated)),
        ("stated.coverage", all(0 <= each.coverage <= 1 for each in stated)),
        ("stated.mean_size", all(0 <= each.mean_size < math.inf for each in stated)),
        ("stated.pictures", all(isinstance(each.pictures, int) for each in stated)),
    ):
        if not fine:
            raise ValueError(name)
    return fit


def threshold(rate: float, fit: ConformalFit) -> float:
    """Return the score up to which classes belong to a set.

    The ⌈(n+1) · rate⌉-th lowest of n scores, or the next higher one that is kept: never less, so
    coverage is never less either, and more by at most 1/t where t scores are kept.

    Args:
        rate: at which sets are to hold the right class, between 0 and 1, exclusive.
        fit: of the ensemble.

    Returns:
        Infinity where the rate is too high for so few pictures.

    Raises:
        ValueError: the rate is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ValueError(f"the rate must be between 0 and 1, not {rate}")
    wanted = math.ceil((fit.pictures + 1) * rate)  # a rank, the lowest being 1
    if wanted > fit.pictures:
        return math.inf
    return fit.scores[(wanted - 1) * len(fit.scores) // fit.pictures]


def likelier(probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probability of all classes likelier than each, and the classes.

    Args:
        probabilities: float [n, k].

    Returns:
        Both [n, k], likeliest class first: Σ_{i < o(y)} p_(i), float64; and class ids, int64. Of
        equally likely classes, the lower id is first.
    """
    ranked, order = probabilities.double().sort(dim=1, descending=True, stable=True)
    before = torch.zeros_like(ranked)
    before[:, 1:] = ranked[:, :-1].cumsum(dim=1)
    return before, order


def late_ranks(classes: int, penalty: float, unpenalised: int) -> Tensor:
    """Return λ · max(o - k_reg, 0) for the ranks o from 1 to k, float64 [k].

    With what ``likelier`` returns it adds up to the score E(x, y) of Angelopoulos et al. 2021,
    eq. 4 at u = 0.

    Args:
        classes: k.
        penalty: λ.
        unpenalised: k_reg.
    """
    return penalty * (torch.arange(1, classes + 1) - unpenalised).clamp(min=0).double()


def prediction_sets(probabilities: Tensor, rate: float, fit: ConformalFit) -> list[list[int]]:
    """Return for each picture the classes of which one is right, at the rate asked for.

    Args:
        probabilities: calibrated, of the pooled answer, float [n, k].
        rate: at which sets are to hold the right class, between 0 and 1, exclusive. One too
            high for the pictures there were to fit on is answered with all classes.
        fit: of the ensemble.

    Returns:
        Class ids, likeliest first; never none.

    Raises:
        ValueError: the rate is not between 0 and 1.
    """
    before, order = likelier(probabilities)
    sizes = set_sizes(before, rate, fit).tolist()
    return [ids[:size] for ids, size in zip(order.tolist(), sizes, strict=True)]


def set_sizes(before: Tensor, rate: float, fit: ConformalFit) -> Tensor:
    """Return how many classes each set has, int64 [n], at least one.

    Args:
        before: probability of all likelier classes, likeliest class first, [n, k].
        rate: as for ``prediction_sets``.
        fit: of the ensemble.

    Raises:
        ValueError: the rate is not between 0 and 1.
    """
    scores = before + late_ranks(before.shape[1], fit.penalty, fit.unpenalised)
    return (scores <= threshold(rate, fit)).sum(dim=1)  # scores rise with the rank
