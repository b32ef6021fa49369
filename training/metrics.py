"""How good an ensemble's predictions are, what each member adds, and what doubts tell.

Shape legend: m members, n pictures, k classes. Log-probabilities are natural logarithms.
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from models.uncertainty import entropy, mutual_information
from training.calibration import calibrate, expected_calibration_error


def pool(log_probabilities: Tensor) -> Tensor:
    """Return the log of the average of the members' probabilities, [n, k] from [m, n, k]."""
    return torch.logsumexp(log_probabilities, dim=0) - math.log(len(log_probabilities))


def accuracy(log_probabilities: Tensor, labels: Tensor, top: int = 1) -> float:
    """Return the share of pictures whose label is among the ``top`` likeliest classes.

    Args:
        log_probabilities: float [n, k].
        labels: int64 [n].
        top: how many classes count; more than k count as k.
    """
    likeliest = log_probabilities.topk(min(top, log_probabilities.shape[1]), dim=1).indices
    return (likeliest == labels[:, None]).any(dim=1).double().mean().item()


def negative_log_likelihood(log_probabilities: Tensor, labels: Tensor) -> float:
    """Return the mean of -log p(label), in nats."""
    return -log_probabilities.gather(1, labels[:, None]).double().mean().item()


_MEASURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "accuracy": accuracy,
    "top5_accuracy": partial(accuracy, top=5),
    "nll": negative_log_likelihood,
    "ece": expected_calibration_error,
}


def by_members(log_probabilities: Tensor, labels: Tensor) -> list[dict[str, float]]:
    """Return how good the pooled answers of 1, 2, … m members are.

    Which members would be left out is arbitrary, so each number s is the mean over the m windows
    of s members that follow one another, the first after the last: every member counts s times.

    Args:
        log_probabilities: of every member, float [m, n, k].
        labels: int64 [n].

    Returns:
        For s = 1 … m: ``members`` (s), ``accuracy``, ``nll`` and ``ece``.
    """
    m, names = len(log_probabilities), ("accuracy", "nll", "ece")
    totals = [dict.fromkeys(names, 0.0) for _ in range(m - 1)]
    for first in range(m):
        window = log_probabilities[first]  # log of the sum of its members' probabilities, [n, k]
        for s, total in enumerate(totals, start=1):
            for name, value in _measures(window - math.log(s), labels, names).items():
                total[name] += value / m
            window = torch.logaddexp(window, log_probabilities[(first + s) % m])
    # All windows of m are the same.
    means = [*totals, _measures(pool(log_probabilities), labels, names)]
    return [{"members": s, **mean} for s, mean in enumerate(means, start=1)]


def diversity(log_probabilities: Tensor) -> dict[str, float]:
    """Return how much the members of an ensemble differ, in three numbers; zero for one member.

    - ``disagreement``: the share of pictures for which two members have another likeliest class,
      mean over the pairs (Fort et al. 2019, section 4).
    - ``symmetric_kl``: ½ Σ_k (p_k - q_k)·(log p_k - log q_k) = ½ (KL(p‖q) + KL(q‖p)), in nats,
      mean over pictures and pairs.
    - ``mutual_information``: H(mean_m p) - mean_m H(p), in nats, mean over pictures (Depeweg et
      al. 2018, eq. 7).

    Args:
        log_probabilities: of every member, float [m, n, k]; what lies below ``log(2**-149)``,
            the least that a float32 softmax can answer, counts as that.
    """
    logs = log_probabilities.clamp(min=-149 * math.log(2))
    information = mutual_information(log_probabilities.exp()).double().mean().item()
    pairs = len(logs) * (len(logs) - 1) // 2
    disagreement = kl = 0.0
    for one, other in combinations(logs, 2):  # two at a time: [m, m, n, k] would not fit
        differ = (one.argmax(dim=1) != other.argmax(dim=1)).double()  # [n]
        disagreement += differ.mean().item() / pairs
        terms = (one.exp() - other.exp()) * (one - other)  # [n, k]
        kl += terms.sum(dim=1).double().mean().item() / 2 / pairs
    return {
        "disagreement": disagreement,
        "symmetric_kl": kl,
        "mutual_information": information,
    }


def confusion(log_probabilities: Tensor, labels: Tensor, groups: Tensor) -> Tensor:
    """Return how many pictures of each group of classes were taken for each, int64 [g, g].

    Args:
        log_probabilities: float [n, k].
        labels: int64 [n].
        groups: group of each class, 0 to g-1, int64 [k].

    Returns:
        Counts; rows are the true groups, columns those of the likeliest class.
    """
    g = int(groups.max()) + 1
    cells = groups[labels] * g + groups[log_probabilities.argmax(dim=1)]  # [n]
    return cells.bincount(minlength=g * g).reshape(g, g)


def ood_scores(log_probabilities: Tensor) -> dict[str, Tensor]:
    """Return how much each picture looks like none of the classes, three ways; higher is more.

    - ``predictive_entropy``: H(mean_m p), in nats (Lakshminarayanan et al. 2017): the first choice.
    - ``max_probability``: 1 - max_k mean_m p_k (Hendrycks & Gimpel 2017).
    - ``mutual_information``: H(mean_m p) - mean_m H(p), in nats: disagreement alone, which often
      tells less (Xia & Bouganis 2022, arXiv 2207.07517).

    Args:
        log_probabilities: of every member, float [m, n, k].

    Returns:
        float [n] by name of the score.
    """
    members = log_probabilities.exp()
    pooled = members.mean(dim=0)
    return {
        "predictive_entropy": entropy(pooled),
        "max_probability": 1 - pooled.amax(dim=1),
        "mutual_information": mutual_information(members),
    }


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Return the probability that a picture from outside scores higher than one from inside.

    A tie counts half: the Mann-Whitney statistic over the number of pairs, which is the area
    under the ROC curve (Hanley & McNeil 1982). Found by rank, in O(n log n).

    Args:
        inside: scores of pictures like those of training, float [n].
        outside: scores of other pictures, float [o].
    """
    ranked = inside.sort().values
    below = torch.searchsorted(ranked, outside, right=False).sum()
    not_above = torch.searchsorted(ranked, outside, right=True).sum()
    return (below + not_above).item() / (2 * len(inside) * len(outside))


def evaluate(log_probabilities: Tensor, labels: Tensor, temperature: float) -> dict[str, Any]:
    """Return the metrics of one split: each member's, their mean, pooled, and calibrated.

    With them come ``by_members`` and ``diversity``, what the functions of these names return.

    Args:
        log_probabilities: of every member, float [m, n, k].
        labels: int64 [n].
        temperature: of the calibrated softmax.
    """
    members = [_measures(member, labels) for member in log_probabilities]
    pooled = pool(log_probabilities)
    return {
        "pictures": len(labels),
        "members": members,
        "members_mean": {
            name: sum(member[name] for member in members) / len(members) for name in members[0]
        },
        "pooled": _measures(pooled, labels),
        "calibrated": _measures(calibrate(pooled, temperature), labels),
        "by_members": by_members(log_probabilities, labels),
        "diversity": diversity(log_probabilities),
    }


def _measures(
    log_probabilities: Tensor, labels: Tensor, names: Iterable[str] = _MEASURES
) -> dict[str, float]:
    return {name: _MEASURES[name](log_probabilities, labels) for name in names}
