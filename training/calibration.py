"""Whether an ensemble is right as often as it is sure, and the one temperature that makes it so.

Shape legend: n pictures, k classes. Log-probabilities are natural logarithms.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor

ECE_BINS = 15
"""Bins of confidence, as in Guo et al. 2017; the calibration error depends on their number."""


def reliability(
    log_probabilities: Tensor, labels: Tensor, bins: int = ECE_BINS
) -> list[dict[str, Any]]:
    """Return how sure and how right the answers of each bin of confidence are.

    The reliability diagram of Guo et al. 2017, section 2. Confidence is the probability of the
    likeliest class; bin b of B holds those in ((b-1)/B, b/B].

    Args:
        log_probabilities: float [n, k].
        labels: int64 [n].
        bins: number B of bins of equal width on (0, 1].

    Returns:
        For each bin, lowest first: ``low`` and ``high``, its limits; ``count``, its pictures;
        ``confidence``, their mean; ``accuracy``. The last two are none where the bin is empty.
    """
    log_confidence, predicted = log_probabilities.max(dim=1)
    confidence = log_confidence.double().exp()  # [n]
    of_bin = (confidence * bins).ceil().long().clamp(1, bins) - 1  # [n]
    count, sure, right = (
        torch.zeros(bins, dtype=torch.double).index_add_(0, of_bin, of_each.double()).tolist()
        for of_each in (torch.ones_like(labels), confidence, predicted == labels)
    )
    return [
        {
            "low": b / bins,
            "high": (b + 1) / bins,
            "count": int(count[b]),
            "confidence": sure[b] / count[b] if count[b] else None,
            "accuracy": right[b] / count[b] if count[b] else None,
        }
        for b in range(bins)
    ]


def expected_calibration_error(
    log_probabilities: Tensor, labels: Tensor, bins: int = ECE_BINS
) -> float:
    """Return the mean gap between confidence and accuracy over equal-width bins of confidence.

    ECE = Σ_b |B_b|/n · |acc(B_b) - conf(B_b)| (Guo et al. 2017, eq. 3), over the bins that
    ``reliability`` returns.

    Args:
        log_probabilities: float [n, k].
        labels: int64 [n].
        bins: number of bins on (0, 1].
    """
    gaps = (
        b["count"] * abs(b["accuracy"] - b["confidence"])
        for b in reliability(log_probabilities, labels, bins)
        if b["count"]
    )
    return float(sum(gaps) / len(labels))


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
        return F.nll_loss(tempered, labels).item()

    ratio = (math.sqrt(5) - 1) / 2
    low, high = math.log(0.05), math.log(20.0)
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return math.exp((low + high) / 2)
