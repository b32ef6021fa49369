"""Metrics against cases worked out by hand, and the temperature that calibrates."""

from math import log

import pytest
import torch
from torch import Tensor

from training.metrics import (
    accuracy,
    calibrate,
    evaluate,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    pool,
)


def logs(*probabilities: list[float]) -> Tensor:
    return torch.tensor(probabilities).log()


def test_pooling_averages_probabilities_and_not_their_logs() -> None:
    members = torch.stack([logs([0.9, 0.1], [0.2, 0.8]), logs([0.5, 0.5], [0.4, 0.6])])
    torch.testing.assert_close(pool(members), logs([0.7, 0.3], [0.3, 0.7]))


def test_pooling_one_member_changes_nothing() -> None:
    member = logs([0.9, 0.1])
    torch.testing.assert_close(pool(member[None]), member)


def test_accuracy_counts_the_likeliest() -> None:
    predictions = logs([0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2])
    assert accuracy(predictions, torch.tensor([0, 2, 1])) == pytest.approx(2 / 3)


def test_top_5_counts_the_fifth_and_not_the_sixth() -> None:
    predictions = torch.tensor([[7.0, 6, 5, 4, 3, 2, 1]]).log_softmax(dim=1)
    found = [accuracy(predictions, torch.tensor([label]), top=5) for label in range(7)]
    assert found == [1, 1, 1, 1, 1, 0, 0]


def test_top_5_of_three_classes_is_always_right() -> None:
    assert accuracy(logs([0.7, 0.2, 0.1]), torch.tensor([2]), top=5) == 1


def test_the_negative_log_likelihood_is_a_mean_in_nats() -> None:
    loss = negative_log_likelihood(logs([0.5, 0.5], [0.2, 0.8]), torch.tensor([0, 1]))
    assert loss == pytest.approx((-log(0.5) - log(0.8)) / 2)


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


def test_evaluate_measures_members_their_mean_pooled_and_calibrated() -> None:
    members = torch.stack([logs([0.9, 0.1], [0.2, 0.8]), logs([0.3, 0.7], [0.4, 0.6])])
    labels = torch.tensor([0, 1])
    metrics = evaluate(members, labels, temperature=2.0)
    assert metrics["pictures"] == 2
    assert [member["accuracy"] for member in metrics["members"]] == [1.0, 0.5]
    assert metrics["members_mean"]["accuracy"] == 0.75
    pooled = pool(members)
    for name, of in (("pooled", pooled), ("calibrated", calibrate(pooled, 2.0))):
        assert metrics[name] == pytest.approx(
            {
                "accuracy": 1.0,
                "top5_accuracy": 1.0,
                "nll": negative_log_likelihood(of, labels),
                "ece": expected_calibration_error(of, labels),
            }
        )
    assert metrics["calibrated"]["nll"] != metrics["pooled"]["nll"]
