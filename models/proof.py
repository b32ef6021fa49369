"""How close an engine's answers come to the reference's, and which may answer unasked.

Shape legend: m members, n pictures, k classes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from models.engine import EXACT

EXACT_DIFFERENCE = 1e-4
"""By how much a probability may differ in an engine that counts as exact: rounding, no more."""

MOST_ACCURACY_LOST = 0.001
LEAST_AGREEMENT = 0.99
"""What a reduced precision must keep on validation to answer unless another is asked for."""

LEAST_PICTURES = 300
"""Of so many, none being different shows 99% agreement at 95% confidence ("rule of three")."""


@dataclass(frozen=True)
class Proof:
    """An engine's averaged answers beside the reference's, on validation pictures.

    Attributes:
        pictures: how many, n.
        largest_difference: of any probability.
        mean_difference: of all n·k probabilities.
        agreement: share of pictures with the same likeliest class.
        accuracy_lost: share of pictures the reference has right less the engine's; may be negative.
    """

    pictures: int
    largest_difference: float
    mean_difference: float
    agreement: float
    accuracy_lost: float


def prove(found: Tensor, reference: Tensor, labels: Tensor) -> Proof:
    """Compare an engine's probabilities with the reference's.

    Args:
        found: of every member, float32 [m, n, k].
        reference: likewise.
        labels: int64 [n].
    """
    ours, theirs = found.double().mean(dim=0), reference.double().mean(dim=0)
    difference = (ours - theirs).abs()
    top, reference_top = ours.argmax(dim=1), theirs.argmax(dim=1)
    lost = (reference_top == labels).double().mean() - (top == labels).double().mean()
    return Proof(
        pictures=len(labels),
        largest_difference=difference.max().item(),
        mean_difference=difference.mean().item(),
        agreement=(top == reference_top).double().mean().item(),
        accuracy_lost=lost.item(),
    )


def objection(name: str, proof: Proof | None) -> str | None:
    """Return why an engine may not answer unless it is asked for; none if it may.

    Args:
        name: of the engine.
        proof: from publishing; an exact engine may lack it, where it was not installed.
    """
    if name in EXACT:
        if proof is None or proof.largest_difference <= EXACT_DIFFERENCE:
            return None
        return f"{name} differs by {proof.largest_difference:.2g} at publishing"
    if proof is None:
        return f"{name} was not compared at publishing"
    for fine, reason in (
        (
            proof.pictures >= LEAST_PICTURES,
            f"was compared on {proof.pictures} pictures, fewer than {LEAST_PICTURES}",
        ),
        (
            proof.agreement >= LEAST_AGREEMENT,
            f"agrees on {proof.agreement:.2%}, less than {LEAST_AGREEMENT:.0%}",
        ),
        (
            proof.accuracy_lost <= MOST_ACCURACY_LOST + 1e-9,  # a difference of two means
            f"loses {100 * proof.accuracy_lost:.2f} points of accuracy",
        ),
    ):
        if not fine:
            return f"{name} {reason}"
    return None


def probe(size: int) -> Tensor:
    """Return 16 pictures on which every machine can compare engines, uint8 [16, s, s, 3].

    Smooth ones, as photos are: noise excites networks in ways that no photo does.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(16, 3, 4, 4, generator=generator) * 255
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return smooth.clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
