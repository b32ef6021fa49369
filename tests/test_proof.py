"""What publishing says of an engine, and which engines may answer unasked."""

from dataclasses import replace

import pytest
import torch

from models.engine import NAMES
from models.proof import Proof, objection, probe, prove

GOOD = Proof(
    pictures=5000, largest_difference=0.03, mean_difference=2e-4, agreement=0.993, accuracy_lost=0.0
)
EXACT = replace(GOOD, largest_difference=2e-6, mean_difference=1e-8, agreement=1.0)


def test_a_proof_compares_the_averages_of_the_members() -> None:
    reference = torch.tensor([[[0.9, 0.1], [0.6, 0.4]], [[0.7, 0.3], [0.2, 0.8]]])
    found = torch.tensor([[[0.7, 0.3], [0.6, 0.4]], [[0.7, 0.3], [0.8, 0.2]]])
    proof = prove(found, reference, torch.tensor([0, 1]))
    assert proof.pictures == 2
    assert proof.largest_difference == pytest.approx(0.3)  # 0.4 -> 0.7 for the second picture
    assert proof.mean_difference == pytest.approx((0.1 + 0.1 + 0.3 + 0.3) / 4)
    assert proof.agreement == 0.5
    assert proof.accuracy_lost == 0.5


def test_members_that_differ_but_average_the_same_are_no_difference() -> None:
    reference = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]])
    proof = prove(reference.flip(0), reference, torch.tensor([0]))
    assert proof.largest_difference == 0
    assert proof.agreement == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_good_proof_has_no_objection(name: str) -> None:
    assert objection(name, EXACT) is None


def test_a_reduced_precision_may_answer_if_it_keeps_accuracy_and_agreement() -> None:
    assert objection("openvino-int8", GOOD) is None
    assert objection("openvino-int8", replace(GOOD, agreement=0.99, accuracy_lost=0.001)) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"agreement": 0.9899}, "agrees on 98.99%"),
        ({"accuracy_lost": 0.0011}, "loses 0.11 points"),
        ({"pictures": 299}, "299 pictures, fewer than 300"),
    ],
)
def test_a_reduced_precision_that_keeps_too_little_may_not(
    change: dict[str, float], reason: str
) -> None:
    found = objection("openvino-int8", replace(GOOD, **change))  # type: ignore[arg-type]
    assert found is not None
    assert reason in found


def test_a_reduced_precision_needs_a_proof_and_an_exact_engine_does_not() -> None:
    assert "not compared" in str(objection("openvino-bfloat16", None))
    assert objection("openvino-float32", None) is None


def test_what_calls_itself_exact_may_only_round() -> None:
    assert "differs by 0.03" in str(objection("openvino-float32", GOOD))


def test_the_probe_is_the_same_everywhere_and_smooth() -> None:
    pictures = probe(32)
    assert pictures.shape == (16, 32, 32, 3)
    assert pictures.dtype == torch.uint8
    assert torch.equal(pictures, probe(32))
    steps = pictures.float().diff(dim=1).abs().mean()
    assert steps < 15  # of 255, from a pixel to the next
    assert len({picture.sum().item() for picture in pictures}) == 16
