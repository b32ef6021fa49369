"""Calibration against cases worked out by hand, and the temperature that mends it."""

from math import log

import pytest
import torch
from torch import Tensor

from training.calibration import (
    ECE_BINS,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    reliability,
)


def logs(*probabilities: list[float]) -> Tensor:
    return torch.tensor(probabilities).log()


def test_reliability_says_how_sure_and_how_right_each_bin_is() -> None:
    predictions = logs([0.52, 0.48], [0.46, 0.54], [0.9, 0.1], [0.55, 0.45])
    found = reliability(predictions, torch.tensor([1, 1, 0, 0]), bins=5)
    assert [b["low"] for b in found] == pytest.approx([0.0, 0.2, 0.4, 0.6, 0.8])
    assert [b["high"] for b in found] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert [b["count"] for b in found] == [0, 0, 3, 0, 1]
    assert found[2]["confidence"] == pytest.approx((0.52 + 0.54 + 0.55) / 3)
    assert found[2]["accuracy"] == pytest.approx(2 / 3)
    assert found[4]["confidence"] == pytest.approx(0.9)
    assert found[4]["accuracy"] == 1
    for empty in (0, 1, 3):
        assert found[empty]["confidence"] is None
        assert found[empty]["accuracy"] is None


def test_a_limit_belongs_to_the_bin_below() -> None:
    halves = torch.tensor([[0.5, 0.5]], dtype=torch.double).log()
    assert [b["count"] for b in reliability(halves, torch.tensor([0]), bins=2)] == [1, 0]


def test_every_picture_is_in_one_of_15_bins() -> None:
    predictions = torch.randn(500, 7).mul(3).log_softmax(dim=1)
    found = reliability(predictions, torch.zeros(500, dtype=torch.long))
    assert len(found) == ECE_BINS == 15
    assert sum(b["count"] for b in found) == 500
    for b in found:
        assert b["count"] == 0 or b["low"] < b["confidence"] <= b["high"]


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    predictions = logs([0.8, 0.2], [0.8, 0.2])  # half of them right
    error = expected_calibration_error(predictions, torch.tensor([0, 1]))
    assert error == pytest.approx(0.3)


def test_gaps_of_different_confidences_do_not_cancel() -> None:
    predictions = logs([0.9, 0.1], [0.6, 0.4])  # too sure by 0.9, too modest by 0.4
    error = expected_calibration_error(predictions, torch.tensor([1, 0]))
    assert error == pytest.approx((0.9 + 0.4) / 2)


def test_gaps_within_a_bin_cancel() -> None:
    predictions = logs([0.52, 0.48], [0.54, 0.46])
    error = expected_calibration_error(predictions, torch.tensor([1, 0]), bins=5)
    assert error == pytest.approx((0.52 + 0.54 - 1) / 2)


def test_certainty_belongs_to_the_last_bin() -> None:
    certain = torch.tensor([[0.0, -1e9]])
    assert expected_calibration_error(certain, torch.tensor([0])) == 0
    assert expected_calibration_error(certain, torch.tensor([1])) == 1


@pytest.mark.parametrize(
    ("confidence", "right", "temperature"),
    [
        # Best where the tempered odds are those of being right: odds ** (1/T) = right / wrong.
        (0.6, 9, log(0.6 / 0.4) / log(9)),  # under-confident: T = 0.18
        (0.8, 8, 1.0),
        (0.9, 6, log(9) / log(0.6 / 0.4)),  # over-confident: T = 5.4
    ],
)
def test_the_temperature_is_found_above_and_below_one(
    confidence: float, right: int, temperature: float
) -> None:
    predictions = logs(*[[confidence, 1 - confidence]] * 10)
    labels = torch.tensor([0] * right + [1] * (10 - right))
    found = fit_temperature(predictions, labels)
    assert found == pytest.approx(temperature, rel=1e-3)
    tempered = calibrate(predictions, found)
    assert tempered[0, 0].exp().item() == pytest.approx(right / 10, rel=1e-3)


def test_who_is_always_right_gets_a_temperature_all_the_same() -> None:
    assert 0.05 <= fit_temperature(logs([0.9, 0.1]), torch.tensor([0])) < 0.06
    assert 19 < fit_temperature(logs([0.9, 0.1]), torch.tensor([1])) <= 20


def test_calibration_keeps_the_order_of_classes() -> None:
    predictions = torch.randn(20, 7).log_softmax(dim=1)
    tempered = calibrate(predictions, 0.3)
    assert torch.equal(tempered.argsort(), predictions.argsort())
    torch.testing.assert_close(tempered.exp().sum(dim=1), torch.ones(20))
    torch.testing.assert_close(calibrate(predictions, 1.0), predictions)
