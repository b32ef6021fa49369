"""Metrics against cases worked out by hand."""

from itertools import product
from math import log

import pytest
import torch
from torch import Tensor

from training.calibration import calibrate, expected_calibration_error
from training.metrics import (
    accuracy,
    auroc,
    by_members,
    confusion,
    diversity,
    evaluate,
    negative_log_likelihood,
    ood_scores,
    pool,
)

SURE, OTHERWISE, UNSURE = [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]


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
    assert metrics["by_members"] == by_members(members, labels)
    assert metrics["diversity"] == diversity(members)


# What each member adds.

THREE = torch.stack(
    [logs([0.9, 0.1], [0.2, 0.8]), logs([0.3, 0.7], [0.6, 0.4]), logs([0.8, 0.2], [0.6, 0.4])]
)
"""Members' answers to two pictures of class 0: the first two are right about one, the last both."""
CLASS_0 = torch.tensor([0, 0])


def test_fewer_members_are_the_mean_over_neighbours_in_a_ring() -> None:
    one, two, three = by_members(THREE, CLASS_0)
    assert [at["members"] for at in (one, two, three)] == [1, 2, 3]
    assert one["accuracy"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert two["accuracy"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert three["accuracy"] == 1 / 2
    # Of class 0: first and second member, second and third, third and first.
    pairs = [(0.6, 0.4), (0.55, 0.6), (0.85, 0.4)]
    assert two["nll"] == pytest.approx(-sum(log(p) for pair in pairs for p in pair) / 6)
    pooled = (2 / 3, 1.4 / 3)
    assert three["nll"] == pytest.approx(-sum(log(p) for p in pooled) / 2)
    gaps = [
        expected_calibration_error(logs(*([p, 1 - p] for p in pair)), CLASS_0) for pair in pairs
    ]
    assert two["ece"] == pytest.approx(sum(gaps) / 3, abs=1e-6)


@pytest.mark.parametrize("members", [1, 2, 5])
def test_one_member_is_the_members_mean_and_all_are_pooled(members: int) -> None:
    predictions = torch.randn(members, 60, 7).log_softmax(dim=-1)
    metrics = evaluate(predictions, torch.arange(60) % 7, temperature=1.0)
    first, last = metrics["by_members"][0], metrics["by_members"][-1]
    for name in ("accuracy", "nll", "ece"):
        assert first[name] == pytest.approx(metrics["members_mean"][name])
        assert last[name] == metrics["pooled"][name]


# How members differ.


def test_members_that_differ_are_counted_and_measured_by_pairs() -> None:
    found = diversity(THREE)
    # The first two disagree about both pictures, the third with each of them about one.
    assert found["disagreement"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)

    def kl(p: float, q: float) -> float:
        return p * log(p / q) + (1 - p) * log((1 - p) / (1 - q))

    class_0 = [(0.9, 0.2), (0.3, 0.6), (0.8, 0.6)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    both_ways = [
        (kl(class_0[i][n], class_0[j][n]) + kl(class_0[j][n], class_0[i][n])) / 2
        for i, j in pairs
        for n in (0, 1)
    ]
    assert found["symmetric_kl"] == pytest.approx(sum(both_ways) / 6, rel=1e-5)


def test_mutual_information_is_what_pooling_adds_to_the_entropy() -> None:
    contrary = torch.stack([logs(SURE, UNSURE), logs(OTHERWISE, UNSURE)])
    assert diversity(contrary)["mutual_information"] == pytest.approx((log(2) + 0) / 2)


@pytest.mark.parametrize("members", [1, 3])
def test_members_that_are_one_and_the_same_have_no_diversity(members: int) -> None:
    same = torch.randn(1, 40, 7).log_softmax(dim=-1).expand(members, -1, -1)
    assert diversity(same) == pytest.approx(
        {"disagreement": 0, "symmetric_kl": 0, "mutual_information": 0}, abs=1e-6
    )
    if members == 1:
        assert set(diversity(same).values()) == {0.0}


def test_certainty_about_contrary_things_is_a_finite_difference() -> None:
    found = diversity(torch.stack([logs(SURE), logs(OTHERWISE)]))
    assert found["disagreement"] == 1
    assert found["symmetric_kl"] == pytest.approx(149 * log(2))  # float32 knows no less likely


# Who is taken for whom.


def test_confusion_counts_groups_by_truth_and_answer() -> None:
    groups = torch.tensor([0, 1, 0])  # classes 0 and 2 belong together
    answers = torch.tensor([0, 2, 1, 1, 1])
    predictions = torch.nn.functional.one_hot(answers, 3).double().log_softmax(dim=1)
    labels = torch.tensor([2, 0, 0, 1, 0])
    assert confusion(predictions, labels, groups).tolist() == [[2, 2], [0, 1]]


def test_a_group_without_pictures_keeps_its_row() -> None:
    found = confusion(logs([0.9, 0.05, 0.05]), torch.tensor([0]), torch.tensor([0, 1, 2]))
    assert found.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


# What doubts tell.


def test_scores_tell_disagreement_from_common_doubt() -> None:
    scores = ood_scores(
        torch.stack([logs(SURE, SURE, UNSURE), logs(SURE, OTHERWISE, UNSURE)])
    )  # of one mind, contrary, both unsure
    expected = {
        "predictive_entropy": [0, log(2), log(2)],
        "max_probability": [0, 0.5, 0.5],
        "mutual_information": [0, log(2), 0],
    }
    assert list(scores) == list(expected)
    for name, values in expected.items():
        assert scores[name].tolist() == pytest.approx(values)


@pytest.mark.parametrize(
    ("inside", "outside", "area"),
    [
        ([1, 2], [3, 4], 1.0),
        ([3, 4], [1, 2], 0.0),
        ([5, 5, 5], [5], 0.5),
        ([1, 2, 3], [2, 4], (1 + 0.5 + 3) / 6),
        ([2, 4], [1, 2, 3], (0.5 + 1) / 6),
    ],
)
def test_the_area_is_the_chance_to_score_higher(
    inside: list[float], outside: list[float], area: float
) -> None:
    assert auroc(torch.tensor(inside), torch.tensor(outside)) == pytest.approx(area)


def test_the_area_by_rank_is_that_of_all_pairs() -> None:
    inside, outside = torch.randint(0, 9, (200,)), torch.randint(2, 12, (150,))
    won = [(o > i) + (o == i) / 2 for i, o in product(inside.tolist(), outside.tolist())]
    assert auroc(inside.double(), outside.double()) == pytest.approx(sum(won) / len(won))
