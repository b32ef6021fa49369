"""How good an ensemble's predictions are, and the one temperature that calibrates them.

Shape legend: m members, n pictures, k classes. Log-probabilities are natural logarithms.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

ECE_BINS = 15


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
    return F.nll_loss(log_probabilities.double(), labels).item()


def expected_calibration_error(
    log_probabilities: Tensor, labels: Tensor, bins: int = ECE_BINS
) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins of confidence.

    ECE = Σ_b |B_b|/n · |acc(B_b) - conf(B_b)| (Guo et al. 2017, eq. 3).

    Args:
        log_probabilities: float [n, k].
        labels: int64 [n].
        bins: number of bins on (0, 1].
    """
    confidence, predicted = log_probabilities.double().exp().max(dim=1)
    correct = (predicted == labels).double()
    of_bin = (confidence * bins).ceil().long().clamp(1, bins) - 1  # [n]
    gap = torch.zeros(bins, dtype=torch.double).index_add_(0, of_bin, correct - confidence)
    return (gap.abs().sum() / len(labels)).item()


def calibrate(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Return log softmax(log p / T), [n, k]."""
    return F.log_softmax(log_probabilities / temperature, dim=-1)


def fit_temperature(log_probabilities: Tensor, labels: Tensor) -> float:
    """Return the temperature that minimises the negative log-likelihood.

    Fitted after pooling and allowed below one: an average of well-calibrated members is
    under-confident (Rahaman & Thiery 2021). The loss has one minimum in log T, found by golden
    section between 0.05 and 20.

    Args:
        log_probabilities: float [n, k], pooled.
        labels: int64 [n], of pictures that neither members nor teacher were trained on.
    """

    def loss(log_temperature: float) -> float:
        tempered = calibrate(log_probabilities.double(), math.exp(log_temperature))
        return negative_log_likelihood(tempered, labels)

    ratio = (math.sqrt(5) - 1) / 2
    low, high = math.log(0.05), math.log(20.0)
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2)


def evaluate(log_probabilities: Tensor, labels: Tensor, temperature: float) -> dict[str, Any]:
    """Return the metrics of one split: each member's, their mean, pooled, and calibrated.

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
    }


def _measures(log_probabilities: Tensor, labels: Tensor) -> dict[str, float]:
    return {
        "accuracy": accuracy(log_probabilities, labels),
        "top5_accuracy": accuracy(log_probabilities, labels, top=5),
        "nll": negative_log_likelihood(log_probabilities, labels),
        "ece": expected_calibration_error(log_probabilities, labels),
    }
