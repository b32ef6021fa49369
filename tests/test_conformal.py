"""Conformal sets: against the paper's equations taken literally, and against what they promise."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from models.conformal import ConformalFit, prediction_sets, threshold
from training.conformal import KEPT_SCORES, SEED, STATED_RATES, fit_conformal, measure_sets


def pictures(count: int, classes: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Probabilities that are too sure of themselves, and labels drawn from better ones."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(count, classes, generator=generator)
    labels = logits.softmax(dim=1).multinomial(1, generator=generator)[:, 0]
    return (2 * logits).softmax(dim=1), labels


def fitted(probabilities: Tensor, labels: Tensor) -> ConformalFit:
    fit = fit_conformal(probabilities, labels)
    assert fit is not None
    return fit


def literal_score(probabilities: list[float], y: int, fit: ConformalFit) -> float:
    """E(x, y, u) of Angelopoulos et al. 2021, eq. 4, at u = 0."""
    rho = sum(p for p in probabilities if p > probabilities[y])
    rank = sum(p >= probabilities[y] for p in probabilities)
    return rho + 0 * probabilities[y] + fit.penalty * max(rank - fit.unpenalised, 0)


def calibrating(count: int) -> Tensor:
    """The rows whose scores are kept: all but the third that chose λ and k_reg."""
    shuffled = torch.randperm(count, generator=torch.Generator().manual_seed(SEED))
    return torch.cat(shuffled.tensor_split(3)[1:])


@pytest.mark.parametrize("rate", [0.5, 0.8, 0.9, 0.97])
def test_sets_are_those_of_the_papers_equations(rate: float) -> None:
    probabilities, labels = pictures(600)
    fit = replace(fitted(probabilities, labels), penalty=0.02, unpenalised=2)
    rows = calibrating(600)
    scores = sorted(
        literal_score(probabilities[row].tolist(), int(labels[row]), fit) for row in rows
    )
    fit = replace(fit, scores=tuple(scores))
    limit = scores[math.ceil((len(scores) + 1) * rate) - 1]  # the paper's Algorithm 2, line 9
    others = pictures(200, seed=1)[0].double()
    for found, row in zip(prediction_sets(others, rate, fit), others.tolist(), strict=True):
        expected = {y for y in range(8) if literal_score(row, y, fit) <= limit + 1e-12}
        assert set(found) == expected
        assert found == sorted(found, key=lambda y: -row[y])


def test_the_kept_scores_are_those_of_the_pictures_that_chose_nothing() -> None:
    probabilities, labels = pictures(600)
    fit = fitted(probabilities, labels)
    doubles = probabilities.double()
    scores = sorted(
        literal_score(doubles[row].tolist(), int(labels[row]), fit) for row in calibrating(600)
    )
    assert fit.pictures == len(fit.scores) == 400
    assert all(
        kept - 1.1e-6 <= score <= kept for kept, score in zip(fit.scores, scores, strict=True)
    )


@pytest.mark.parametrize("rate", [0.7, 0.8, 0.9, 0.95, 0.99])
def test_sets_hold_the_right_class_as_often_as_is_asked_for(rate: float) -> None:
    fit = fitted(*pictures(6_000))
    found = measure_sets(*pictures(20_000, seed=1), rate, fit)
    error = math.sqrt(rate * (1 - rate) * (1 / fit.pictures + 1 / 20_000))
    assert abs(found.coverage - rate) < 3 * error + 1 / KEPT_SCORES
    assert 1 < found.mean_size < 8


def test_the_promise_holds_on_average_with_two_pictures_to_keep_it_by() -> None:
    found = []
    for seed in range(150):
        probabilities, labels = pictures(4, classes=20, seed=10 + seed)
        fit = fitted(probabilities, labels)
        assert fit.pictures == 2
        others = pictures(100, classes=20, seed=1_000 + seed)
        found.append(measure_sets(*others, 0.6, fit).coverage)
    # The higher of two scores is below one new score of three.
    error = math.sqrt(1 / 18 / 150)  # the highest of two uniform numbers has variance 1/18
    assert 2 / 3 - 3 * error < sum(found) / 150 < 2 / 3 + 3 * error + 0.1


def test_what_is_stated_is_measured_on_a_third_that_nothing_was_chosen_on() -> None:
    probabilities, labels = pictures(3_000)
    before = fitted(probabilities, labels)
    assert [of_rate.rate for of_rate in before.stated] == list(STATED_RATES)
    third = torch.randperm(3_000, generator=torch.Generator().manual_seed(SEED))[2_000:]
    wrong = labels.clone()
    wrong[third] = probabilities[third].argmin(dim=1)
    after = fitted(probabilities, wrong)
    assert (after.penalty, after.unpenalised) == (before.penalty, before.unpenalised)
    for one, other in zip(before.stated, after.stated, strict=True):
        assert abs(one.coverage - one.rate) < 0.05
        assert other.coverage < one.coverage - 0.3
        assert other.mean_size == one.mean_size
        assert one.pictures == 1_000


def test_penalty_and_ranks_are_chosen_for_small_sets() -> None:
    generator = torch.Generator().manual_seed(0)
    sureness = 3 * torch.rand(6_000, 1, generator=generator)
    probabilities = (sureness * torch.randn(6_000, 30, generator=generator)).softmax(dim=1)
    rank = torch.tensor([0.6, 0.25, 0.15]).multinomial(6_000, True, generator=generator)
    labels = probabilities.argsort(dim=1, descending=True).gather(1, rank[:, None])[:, 0]
    fit = fitted(probabilities[:3_000], labels[:3_000])
    # Never later than third, however much probability is left: later ranks are to be penalised.
    assert fit.penalty >= 0.1
    assert fit.unpenalised <= 3
    for rate in STATED_RATES:
        assert measure_sets(probabilities[3_000:], labels[3_000:], rate, fit).mean_size < 3.1


@pytest.mark.parametrize("count", [3_000, 3_001, 4_570, 9_000])
def test_a_threshold_is_never_below_the_true_quantile(count: int) -> None:
    n = len(calibrating(count))
    kept = min(n, KEPT_SCORES)
    fit = fitted(*pictures(count, classes=2))
    assert (fit.pictures, len(fit.scores)) == (n, kept)
    # As if the i-th lowest score were i, so that a score says its rank.
    ranks = replace(fit, scores=tuple(-(-(i + 1) * n // kept) for i in range(kept)))
    for percent in range(1, 1_000):
        wanted = math.ceil((n + 1) * percent / 1_000)
        assert wanted <= threshold(percent / 1_000, ranks) <= wanted + n / kept


def test_the_kept_scores_of_many_pictures_are_those_of_their_ranks() -> None:
    probabilities, labels = pictures(6_000)
    fit = fitted(probabilities, labels)
    doubles = probabilities.double()
    scores = sorted(
        literal_score(doubles[row].tolist(), int(labels[row]), fit) for row in calibrating(6_000)
    )
    assert len(fit.scores) == KEPT_SCORES
    for i in (0, 1, 499, 998, 999):
        assert fit.scores[i] == pytest.approx(scores[-(-(i + 1) * 4_000 // 1_000) - 1], abs=1.1e-6)


def test_a_rate_too_high_for_so_few_pictures_gets_all_classes() -> None:
    probabilities, labels = pictures(30)
    fit = fitted(probabilities, labels)  # 20 scores promise 20/21 at most
    assert threshold(0.95, fit) == fit.scores[-1]
    assert threshold(0.96, fit) == math.inf
    for found in prediction_sets(probabilities, 0.96, fit):
        assert sorted(found) == list(range(8))


def test_no_set_is_empty_and_a_higher_rate_only_adds_to_it() -> None:
    fit = fitted(*pictures(900))
    probabilities = torch.cat([pictures(300, seed=1)[0], torch.eye(8)])
    before: list[list[int]] = [[] for _ in probabilities]
    for rate in (0.001, 0.2, 0.5, 0.8, 0.9, 0.99, 0.999):
        found = prediction_sets(probabilities, rate, fit)
        for smaller, larger, row in zip(before, found, probabilities, strict=True):
            assert larger
            assert larger[0] == row.argmax()
            assert larger[: len(smaller)] == smaller
        before = found
    assert all(len(found) == 1 for found in prediction_sets(probabilities, 0.001, fit))


def test_equally_likely_classes_come_in_the_order_of_their_ids() -> None:
    fit = ConformalFit(0.0, 1, 4, (0.1, 0.3, 0.3, 0.6), ())
    same = torch.full((2, 4), 0.25)
    assert prediction_sets(same, 0.5, fit) == [[0, 1], [0, 1]]
    assert prediction_sets(same, 0.8, fit) == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.5, 90.0, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        prediction_sets(torch.eye(2), rate, fitted(*pictures(30, classes=2)))


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_few_pictures_of_two_classes_are_enough_from_three_on(count: int) -> None:
    probabilities, labels = pictures(count, classes=2)
    fit = fit_conformal(probabilities, labels)
    if count < 3:
        assert fit is None
        return
    assert fit is not None
    assert all(map(math.isfinite, fit.scores))
    assert all(len(found) == 2 for found in prediction_sets(probabilities, 0.95, fit))
