"""The losses against values worked out by hand."""

from math import log

import pytest
import torch
from torch import Tensor

from training.losses import cross_entropy, distillation_loss, soften

LABELS = torch.tensor([1])
QUARTER = torch.tensor([[0.0, log(3)]])  # softmax: 1/4, 3/4


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


def test_soften_divides_by_the_temperature_before_the_softmax() -> None:
    torch.testing.assert_close(soften(2 * QUARTER, 2.0), torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(soften(QUARTER, 1e6), torch.tensor([[0.5, 0.5]]))
    assert soften(QUARTER.bfloat16(), 2.0).dtype == torch.float32


def test_distillation_is_the_divergence_times_the_temperature_squared() -> None:
    teacher = torch.tensor([[0.5, 0.5]])
    divergence = 0.5 * log(0.5 / 0.25) + 0.5 * log(0.5 / 0.75)
    loss = distillation_loss(2 * QUARTER, teacher, temperature=2.0)
    assert loss.item() == pytest.approx(4 * divergence)


def test_distillation_is_the_mean_over_pictures() -> None:
    one, many = torch.randn(1, 6), torch.randn(1, 6)
    loss = distillation_loss(one, soften(many, 3.0), 3.0)
    again = distillation_loss(one.expand(5, 6), soften(many, 3.0).expand(5, 6), 3.0)
    torch.testing.assert_close(loss, again)


def test_who_answers_as_the_teacher_does_has_nothing_to_learn() -> None:
    logits = torch.randn(4, 6, requires_grad=True)
    loss = distillation_loss(logits, soften(logits.detach(), 4.0), 4.0)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert gradient.abs().max() < 1e-6


def test_a_teacher_that_is_certain_gives_a_finite_loss() -> None:
    teacher = torch.tensor([[0.0, 1.0]])
    assert distillation_loss(QUARTER, teacher, 1.0).item() == pytest.approx(-log(3 / 4))


def test_the_temperature_squared_keeps_the_size_of_the_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 8, 10, generator=generator)

    def gradient_at(temperature: float) -> Tensor:
        logits = student.clone().requires_grad_()
        loss = distillation_loss(logits, soften(teacher, temperature), temperature)
        gradient: Tensor = torch.autograd.grad(loss, logits)[0]
        return gradient

    # For high temperatures it is (z - v) / K of centred logits (Hinton et al. 2015, eq. 4).
    limit = (student - teacher) - (student - teacher).mean(dim=1, keepdim=True)
    torch.testing.assert_close(gradient_at(1000.0), limit / 10 / 8, rtol=0.02, atol=1e-3)
    assert gradient_at(8.0).norm().item() == pytest.approx(gradient_at(16.0).norm().item(), rel=0.2)
