"""The losses, as equations.

Shape legend: n pictures, k classes.
"""

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy against smoothed labels, averaged over the pictures.

    CE = -Σ_k q_k log p_k with q = (1-ε)·onehot(label) + ε/K (Szegedy et al. 2016, section 7).

    Args:
        logits: float [n, k].
        labels: int64 [n].
        label_smoothing: ε.
    """
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from the student's softened softmax to the teacher's, times T².

    T²·KL(p_T || q_T) with q_T = softmax(logits / T) (Hinton et al. 2015, section 2). Gradients of
    the softened softmax shrink as 1/T², so T² keeps their weight against the labels' loss the
    same whatever the temperature.

    Args:
        logits: the student's, float [n, k].
        teacher: the teacher's probabilities, already softened at the same T, [n, k].
        temperature: T.
    """
    log_student = F.log_softmax(logits / temperature, dim=-1)
    return F.kl_div(log_student, teacher, reduction="batchmean") * temperature**2


def soften(logits: Tensor, temperature: float) -> Tensor:
    """Return softmax(logits / T), float32 [n, k]."""
    return torch.softmax(logits.float() / temperature, dim=-1)
