"""The losses against values worked out by hand, and against what their papers prove."""

from math import log

import pytest
import torch
from torch import Tensor

from training.losses import (
    OTHERS_WEIGHT,
    cross_entropy,
    decoupled_divergence,
    distillation_loss,
    pooled_cross_entropy,
    softened_divergence,
    standardise,
)
from training.recipe import DISTILLATION_LOSSES, DistillationLoss

LABELS = torch.tensor([1])
QUARTER = torch.tensor([[0.0, log(3)]])  # softmax: 1/4, 3/4
HALF = torch.zeros(1, 2)  # softmax: 1/2, 1/2


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Cross-entropy.


@pytest.mark.parametrize(
    ("smoothing", "expected"),
    [
        (0.0, -log(3 / 4)),
        (0.2, -0.1 * log(1 / 4) - 0.9 * log(3 / 4)),  # the label keeps 1 - 0.2 + 0.2 / 2
    ],
)
def test_cross_entropy_against_smoothed_labels(smoothing: float, expected: float) -> None:
    assert cross_entropy(QUARTER, LABELS, smoothing).item() == pytest.approx(expected)


def test_cross_entropy_is_the_mean_over_pictures() -> None:
    logits = torch.cat([QUARTER, QUARTER])
    expected = (-log(3 / 4) - log(1 / 4)) / 2
    loss = cross_entropy(logits, torch.tensor([1, 0]), 0.0)
    assert loss.item() == pytest.approx(expected)


# The loss of the members' average.


def test_pooled_cross_entropy_is_that_of_the_average_of_the_softmax() -> None:
    logits = torch.stack([QUARTER, HALF])  # of the label: 3/4 and 1/2
    assert pooled_cross_entropy(logits, LABELS).item() == pytest.approx(-log(5 / 8))
    assert pooled_cross_entropy(logits[:1], LABELS).item() == pytest.approx(-log(3 / 4))


def test_the_member_that_gives_the_label_more_learns_more_of_it() -> None:
    logits = torch.stack([QUARTER, HALF]).requires_grad_()
    pooled_cross_entropy(logits, LABELS).backward()  # type: ignore[no-untyped-call]
    sure, unsure = logits.grad  # type: ignore[misc]
    # Shares of the label's probability, 3/5 and 2/5, times each one's own gradient, p - onehot.
    torch.testing.assert_close(sure, torch.tensor([[0.6 * 0.25, -0.6 * 0.25]]))
    torch.testing.assert_close(unsure, torch.tensor([[0.4 * 0.5, -0.4 * 0.5]]))


# What all distillation losses have in common.


@pytest.mark.parametrize("kind", DISTILLATION_LOSSES)
def test_distillation_is_the_mean_over_pictures(kind: DistillationLoss) -> None:
    student, teacher, labels = normal(1, 6), normal(1, 6, seed=1), torch.tensor([2])
    loss = distillation_loss(kind, student, teacher, labels, 3.0)
    again = distillation_loss(
        kind, student.expand(5, 6), teacher.expand(5, 6), labels.expand(5), 3.0
    )
    assert loss > 0.01
    torch.testing.assert_close(loss, again)


@pytest.mark.parametrize("kind", DISTILLATION_LOSSES)
def test_who_answers_as_the_teacher_does_has_nothing_to_learn(kind: DistillationLoss) -> None:
    logits = normal(4, 6).requires_grad_()
    loss = distillation_loss(kind, logits, logits.detach(), torch.arange(4), 4.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("kind", DISTILLATION_LOSSES)
@pytest.mark.parametrize("label", [0, 1])
def test_a_teacher_that_is_certain_gives_a_finite_loss_and_gradient(
    kind: DistillationLoss, label: int
) -> None:
    teacher = torch.tensor([[3000.0, 0.0, 0.0]])  # its softmax is 1, 0, 0 to the last bit
    logits = normal(1, 3).requires_grad_()
    loss = distillation_loss(kind, logits, teacher, torch.tensor([label]), 1.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert gradient.isfinite().all()


# Hinton's.


def test_the_softened_divergence_is_multiplied_by_the_temperature_squared() -> None:
    divergence = 0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75)
    loss = softened_divergence(2 * QUARTER, HALF, temperature=2.0)
    assert loss.item() == pytest.approx(4 * divergence)


def test_a_certain_teacher_is_a_label() -> None:
    teacher = torch.tensor([[0.0, 1000.0]])
    assert softened_divergence(QUARTER, teacher, 1.0).item() == pytest.approx(-log(3 / 4))


def test_the_temperature_squared_keeps_the_size_of_the_gradient() -> None:
    student, teacher = normal(2, 8, 10)

    def gradient_at(temperature: float) -> Tensor:
        logits = student.clone().requires_grad_()
        loss = softened_divergence(logits, teacher, temperature)
        gradient: Tensor = torch.autograd.grad(loss, logits)[0]
        return gradient

    # For high temperatures it is (z - v) / K of centred logits (Hinton et al. 2015, eq. 4).
    limit = (student - teacher) - (student - teacher).mean(dim=1, keepdim=True)
    torch.testing.assert_close(gradient_at(1000.0), limit / 10 / 8, rtol=0.02, atol=1e-3)
    assert gradient_at(8.0).norm().item() == pytest.approx(gradient_at(16.0).norm().item(), rel=0.2)


# With standardised logits.


def test_standardised_logits_have_mean_0_and_deviation_1() -> None:
    standard = standardise(torch.tensor([[1.0, 2.0, 3.0, 6.0]]))
    expected = torch.tensor([[-2.0, -1.0, 0.0, 3.0]]) / 3.5**0.5
    torch.testing.assert_close(standard, expected)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 5.0), (0.1, 0.0), (7.0, -30.0)])
def test_the_standardised_loss_does_not_see_scale_and_shift(scale: float, shift: float) -> None:
    student, teacher, labels = normal(8, 10), normal(8, 10, seed=1), torch.arange(8)

    def loss(student: Tensor, teacher: Tensor) -> Tensor:
        return distillation_loss("standardised_kl", student, teacher, labels, 2.0)

    expected = loss(student, teacher)
    torch.testing.assert_close(loss(scale * student + shift, teacher), expected)
    torch.testing.assert_close(loss(student, scale * teacher + shift), expected)


def test_logits_that_are_all_the_same_are_no_reason_to_divide_by_zero() -> None:
    assert torch.equal(standardise(torch.full((2, 4), 3.0)), torch.zeros(2, 4))


# Decoupled.


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_decoupled_loss_against_a_value_worked_out_by_hand(temperature: float) -> None:
    teacher = temperature * torch.tensor([[1 / 2, 1 / 4, 1 / 4]]).log()
    student = temperature * torch.tensor([[1 / 4, 1 / 2, 1 / 4]]).log()
    # Of the label (1/2, 1/2) against (1/4, 3/4); of the others (1/2, 1/2) against (2/3, 1/3).
    target = 0.5 * log((1 / 2) / (1 / 4)) + 0.5 * log((1 / 2) / (3 / 4))
    others = 0.5 * log((1 / 2) / (2 / 3)) + 0.5 * log((1 / 2) / (1 / 3))
    loss = decoupled_divergence(student, teacher, torch.tensor([0]), temperature)
    assert loss.item() == pytest.approx(temperature**2 * (1 * target + 8 * others), rel=1e-5)


@pytest.mark.parametrize("label", range(4))
def test_divergence_is_its_decoupled_parts_the_others_weighed_by_the_teachers_doubt(
    label: int,
) -> None:
    # Zhao et al. 2022, eq. 5: KL = TCKD + (1 - p(label)) · NCKD, p the teacher's.
    student, teacher = normal(1, 4, seed=2), normal(1, 4, seed=3)

    def of_label_and_rest(logits: Tensor) -> Tensor:
        label_alone = logits.softmax(dim=1)[:, [label]]
        return torch.cat([label_alone, 1 - label_alone], dim=1).log()

    target = softened_divergence(of_label_and_rest(student), of_label_and_rest(teacher), 1.0)
    both = decoupled_divergence(student, teacher, torch.tensor([label]), 1.0)
    others = (both - target) / OTHERS_WEIGHT
    doubt = 1 - teacher.softmax(dim=1)[0, label]
    torch.testing.assert_close(
        softened_divergence(student, teacher, 1.0), target + doubt * others, rtol=1e-4, atol=1e-6
    )
