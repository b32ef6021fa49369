"""The losses, as equations.

Shape legend: m members, n pictures, k classes.
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812  # the name every torch user knows
from torch import Tensor

from training.recipe import DistillationLoss


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    """Cross-entropy against smoothed labels, averaged over the pictures.

    CE = -Σ_k q_k log p_k with q = (1-ε)·onehot(label) + ε/K (Szegedy et al. 2016, section 7).

    Args:
        logits: float [n, k].
        labels: int64 [n].
        label_smoothing: ε.
    """
    return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)


def pooled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the average of the members' softmax, averaged over the pictures.

    -log (1/m Σ_m p_m) at the label, with p_m = softmax(logits_m): the loss of the answer that is
    served, against labels that are not smoothed. A member's gradient is that of its own
    cross-entropy times its share of the probability that all of them give the label, so members
    divide the pictures among themselves (Webb et al. 2021, "To Ensemble or Not Ensemble: When Does
    End-To-End Training Fail?", for averages).

    Args:
        logits: of every member for the same pictures, float [m, n, k].
        labels: int64 [n].
    """
    pictures = torch.arange(len(labels), device=labels.device)
    of_label = logits.log_softmax(dim=-1)[:, pictures, labels]  # [m, n]
    return math.log(len(logits)) - of_label.logsumexp(dim=0).mean()


def distillation_loss(
    kind: DistillationLoss, logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float
) -> Tensor:
    """One of the losses below, averaged over the pictures.

    Args:
        kind: which.
        logits: the student's, float [n, k].
        teacher: the teacher's logits for the same pictures, float [n, k].
        labels: int64 [n].
        temperature: T.
    """
    match kind:
        case "kl":
            return softened_divergence(logits, teacher, temperature)
        case "standardised_kl":
            return softened_divergence(standardise(logits), standardise(teacher), temperature)
        case "dkd":
            return decoupled_divergence(logits, teacher, labels, temperature)


def softened_divergence(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Kullback-Leibler divergence from the student's softened softmax to the teacher's, times T².

    T²·KL(p_T || q_T) with q_T = softmax(logits / T) (Hinton et al. 2015, section 2). Gradients of
    the softened softmax shrink as 1/T², so T² keeps their weight against the labels' loss the
    same whatever the temperature.

    Args:
        logits: the student's, float [n, k].
        teacher: the teacher's, float [n, k].
        temperature: T.
    """
    log_student = F.log_softmax(logits / temperature, dim=-1)
    log_teacher = F.log_softmax(teacher / temperature, dim=-1)
    return _divergence(log_teacher, log_student) * temperature**2


def standardise(logits: Tensor) -> Tensor:
    """Return logits with mean 0 and standard deviation 1 over the classes of each picture.

    The student then learns the teacher's ranking and relations and keeps a scale of its own (Sun
    et al. 2024, "Logit Standardization in Knowledge Distillation", eq. 9).
    """
    centred = logits - logits.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True).sqrt() + 1e-7)


TARGET_WEIGHT, OTHERS_WEIGHT = 1.0, 8.0
"""a and b of decoupled distillation: the paper's for CIFAR-100 and networks of one family."""


def decoupled_divergence(
    logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float
) -> Tensor:
    """Decoupled knowledge distillation: T²·(a·TCKD + b·NCKD) (Zhao et al. 2022, eq. 7).

    TCKD is the divergence of (probability of the label, of all others together); NCKD that of the
    softmax over all classes but the label, which in the plain divergence counts the less the surer
    the teacher is.

    Args:
        logits: the student's, float [n, k].
        teacher: the teacher's, float [n, k].
        labels: int64 [n].
        temperature: T.
    """
    is_label = F.one_hot(labels, logits.shape[1]).bool()

    def decouple(of: Tensor) -> tuple[Tensor, Tensor]:
        softened = of / temperature
        log_label = F.log_softmax(softened, dim=-1)[is_label]
        others = softened[~is_label].view(len(of), -1)  # [n, k-1]
        log_rest = others.logsumexp(dim=-1) - softened.logsumexp(dim=-1)
        return torch.stack([log_label, log_rest], dim=1), F.log_softmax(others, dim=-1)

    (student_label, student_others), (teacher_label, teacher_others) = map(
        decouple, (logits, teacher)
    )
    target = _divergence(teacher_label, student_label)
    others = _divergence(teacher_others, student_others)
    return (TARGET_WEIGHT * target + OTHERS_WEIGHT * others) * temperature**2


def _divergence(log_teacher: Tensor, log_student: Tensor) -> Tensor:
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
