"""The cascade: who is asked about which picture, and what the rule keeps its word about."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.cascade import CascadeFigures, CascadeFit, cascade, settled
from models.uncertainty import agreement, entropy, mutual_information
from training.calibration import fit_temperature
from training.cascade import ACCURACY_LOST, SEED, fit_cascade, measure_cascade
from training.metrics import pool

NOTHING = CascadeFigures(1, 1.0, 0.0, 0.0, 1.0)


def rule(*thresholds: float) -> CascadeFit:
    return CascadeFit(thresholds, (NOTHING, NOTHING))


def ensemble(members: int, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Log-probabilities of members that err each in its own way, and labels of six classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(6, (count,), generator=generator)
    logits = 2.5 * torch.nn.functional.one_hot(labels, 6).float()
    common = 1.5 * torch.randn(count, 6, generator=generator)
    own = torch.randn(members, count, 6, generator=generator)
    return (logits + common + own).log_softmax(dim=-1), labels


def fitted(predictions: Tensor, labels: Tensor) -> CascadeFit:
    fit = fit_cascade(predictions, labels, fit_temperature(pool(predictions), labels))
    assert fit is not None
    return fit


class Asked:
    """Members who remember about which rows they were asked."""

    def __init__(self, members: Tensor) -> None:
        self.members = members  # [m, n, k]
        self.calls: list[tuple[range, list[int]]] = []

    def __call__(self, stage: range, rows: Tensor) -> Tensor:
        """Return what the members of a stage say about some rows."""
        self.calls.append((stage, rows.tolist()))
        return self.members[stage.start : stage.stop][:, rows]


def singly(members: int) -> list[range]:
    return [range(j, j + 1) for j in range(members)]


def literal(members: Tensor, ends: list[int], fit: CascadeFit) -> list[int]:
    """After how many members each picture is done, one picture and one margin at a time."""
    used = []
    for picture in members.double().unbind(dim=1):  # [m, k]
        for j in ends:
            lead = sorted(picture[:j].mean(dim=0).tolist())
            if j > len(fit.thresholds) or lead[-1] - lead[-2] >= fit.thresholds[j - 1]:
                break
        used.append(j)
    return used


# Answering.


@pytest.mark.parametrize("stages", [singly(5), [range(2), range(2, 4), range(4, 5)], [range(5)]])
@pytest.mark.parametrize("never", [math.inf, 1.5])
def test_thresholds_out_of_reach_leave_the_answer_of_all_members(
    stages: list[range], never: float
) -> None:
    members = ensemble(5, 60)[0].exp()
    found = cascade(Asked(members), 60, stages, rule(never, never, never, never))
    exact = members.double()
    torch.testing.assert_close(found.probabilities, exact.mean(dim=0))
    torch.testing.assert_close(found.entropy, entropy(exact.mean(dim=0)))
    torch.testing.assert_close(found.mutual_information, mutual_information(exact))
    torch.testing.assert_close(found.agreement, agreement(exact.argmax(dim=-1), exact.mean(dim=0)))
    assert found.members_used.tolist() == [5] * 60


@pytest.mark.parametrize("ends", [[1, 2, 3, 4, 5, 6], [2, 4, 6], [1, 3, 6], [1, 2, 3], [4]])
def test_each_picture_has_the_answer_of_just_the_members_it_was_asked_of(ends: list[int]) -> None:
    members = ensemble(6, 200)[0].exp()
    fit = rule(0.9, 0.7, 0.5, 0.3, 0.2)
    stages = [range(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]
    found = cascade(Asked(members), 200, stages, fit)
    assert found.members_used.tolist() == literal(members, ends, fit)
    if len(ends) > 1:
        assert set(found.members_used.tolist()) == set(ends)
    for row, used in enumerate(found.members_used.tolist()):
        own = members[:used, row : row + 1].double()
        torch.testing.assert_close(found.probabilities[row], own.mean(dim=0)[0])
        torch.testing.assert_close(found.mutual_information[row], mutual_information(own)[0])
        votes = own.max(dim=-1)
        assert found.votes[:used, row].tolist() == votes.indices[:, 0].tolist()
        assert found.votes[used:, row].tolist() == [-1] * (len(found.votes) - used)
        torch.testing.assert_close(found.certainty[:used, row], votes.values[:, 0])
        torch.testing.assert_close(
            found.agreement[row], agreement(own.argmax(dim=-1), own.mean(dim=0))[0]
        )


def test_a_stage_is_asked_about_the_open_pictures_only_in_their_order() -> None:
    members = ensemble(4, 100)[0].exp()
    fit = rule(0.8, 0.6, 0.4)
    asked = Asked(members)
    used = cascade(asked, 100, singly(4), fit).members_used.tolist()
    assert [stage for stage, _ in asked.calls] == singly(4)
    for stage, rows in asked.calls:
        assert rows == [row for row in range(100) if used[row] > stage.start]


def test_nobody_is_asked_once_every_picture_is_settled() -> None:
    sure = torch.tensor([0.95, 0.05]).expand(4, 3, 2)
    asked = Asked(sure)
    found = cascade(asked, 3, singly(4), rule(0.95, 0.5, 0.0))
    assert asked.calls == [(range(1), [0, 1, 2]), (range(1, 2), [0, 1, 2])]
    assert found.members_used.tolist() == [2, 2, 2]
    torch.testing.assert_close(found.probabilities, sure[0].double())


def test_a_picture_on_the_threshold_is_settled_and_a_tie_is_not() -> None:
    averages = torch.tensor([[0.75, 0.25, 0.0], [0.5, 0.5, 0.0], [0.7, 0.3, 0.0]]).double().numpy()
    assert settled(averages, 1, rule(0.5, 0.0)).tolist() == [True, False, False]
    assert settled(averages, 2, rule(0.5, 0.0)).tolist() == [True, True, True]
    assert settled(averages, 3, rule(2.0, 2.0)).tolist() == [True, True, True]


def test_certain_members_leave_no_number_that_is_none() -> None:
    certain = torch.eye(3)[torch.tensor([[0, 1], [0, 2], [1, 2]])]  # [3, 2, 3]
    found = cascade(Asked(certain), 2, singly(3), rule(2.0, 1.0))
    assert found.members_used.tolist() == [2, 3]
    assert found.entropy[0] == 0
    assert found.agreement.tolist() == pytest.approx([1, 2 / 3])
    for values in vars(found).values():
        assert values.isfinite().all()


@pytest.mark.parametrize(
    ("pictures", "stages"),
    [
        (0, [range(2)]),
        (2, []),
        (2, [range(1, 2)]),
        (2, [range(1), range(2, 3)]),
        (2, [range(2), range(1, 3)]),
        (2, [range(0)]),
        (2, [range(0, 3, 2)]),
    ],
)
def test_what_is_no_cascade_is_refused(pictures: int, stages: list[range]) -> None:
    with pytest.raises(ValueError, match=r"stages must|needs a picture"):
        cascade(Asked(torch.full((3, 2, 2), 0.5)), pictures, stages, rule(0.5, 0.5))


# Fitting.


def test_figures_are_counts() -> None:
    sure, unsure, other = [0.9, 0.1], [0.55, 0.45], [0.1, 0.9]
    predictions = torch.tensor([[sure, unsure, sure, unsure], [sure, other, other, sure]]).log()
    labels = torch.tensor([0, 1, 1, 0])
    found = measure_cascade(predictions, labels, rule(0.5))
    # Settled by one member: the first and the third, of which two members together say a tie.
    assert (found.pictures, found.mean_members) == (4, 1.5)
    assert found.agreement == 1
    found = measure_cascade(predictions, labels, rule(0.05))
    assert found.mean_members == 1
    assert found.agreement == 3 / 4  # the second would have become class 1, its own
    assert found.accuracy_lost == 1 / 4
    assert found.accuracy_lost_error == pytest.approx(math.sqrt(1 / 4 - 1 / 16) / 2)


@pytest.mark.parametrize("ends", [[1, 2, 3, 4], [2, 4], [3, 4]])
def test_figures_are_those_of_the_cascade_itself(ends: list[int]) -> None:
    predictions, labels = ensemble(4, 2_000)
    fit = rule(0.4, 0.1, 0.01)
    stages = [range(start, stop) for start, stop in zip([0, *ends], ends, strict=False)]
    answers = cascade(Asked(predictions.double().exp()), 2_000, stages, fit)
    figures = measure_cascade(predictions, labels, fit, stages)
    full = pool(predictions).argmax(dim=1)
    given = answers.probabilities.argmax(dim=1)
    assert figures.mean_members == pytest.approx(answers.members_used.double().mean().item())
    assert figures.agreement == pytest.approx((given == full).double().mean().item())
    lost = (full == labels).double().mean() - (given == labels).double().mean()
    assert figures.accuracy_lost == pytest.approx(lost.item())
    assert given.ne(full).any()


@pytest.mark.parametrize("members", [2, 4, 10])
def test_members_are_saved_and_accuracy_is_not_on_pictures_never_seen(members: int) -> None:
    predictions, labels = ensemble(members, 20_000)
    fit = fitted(predictions[:, :5_000], labels[:5_000])
    found = measure_cascade(predictions[:, 5_000:], labels[5_000:], fit)
    assert found.mean_members < 0.85 * members
    assert found.accuracy_lost < ACCURACY_LOST + 2 * found.accuracy_lost_error
    assert found.agreement > 0.98
    assert list(fit.thresholds) == sorted(fit.thresholds, reverse=True)
    assert abs(found.mean_members - fit.stated.mean_members) < 0.1 * members


def test_halves_are_stated_by_the_rule_that_the_other_half_chose() -> None:
    predictions, labels = ensemble(4, 4_000)
    temperature = fit_temperature(pool(predictions), labels)
    fit = fit_cascade(predictions, labels, temperature)
    assert fit is not None
    rows = torch.randperm(4_000, generator=torch.Generator().manual_seed(SEED))
    halves = rows[:2_000], rows[2_000:]
    for half, other, stated in zip(halves, reversed(halves), fit.halves, strict=True):
        own = fit_cascade(predictions[:, other], labels[other], temperature)
        assert own is not None
        assert stated == measure_cascade(predictions[:, half], labels[half], own)
    one, two = fit.halves
    assert one != two
    assert fit.stated.pictures == 4_000
    assert fit.stated.mean_members == pytest.approx((one.mean_members + two.mean_members) / 2)
    assert fit.stated.accuracy_lost == pytest.approx((one.accuracy_lost + two.accuracy_lost) / 2)


def test_the_more_a_changed_answer_costs_the_more_members_are_asked() -> None:
    predictions, _ = ensemble(6, 6_000)
    full = pool(predictions).argmax(dim=1)
    right = fitted(predictions, full)  # whoever changes an answer, is wrong
    worse = fitted(predictions, predictions[0].argmax(dim=1))  # more members only do harm
    assert right.stated.mean_members > worse.stated.mean_members + 0.5
    assert right.stated.agreement > 0.998
    assert 0.96 < worse.stated.agreement < 0.99  # though one member alone would be the best


def test_the_first_members_alone_settle_what_nobody_changes() -> None:
    same = ensemble(1, 4_000)[0].expand(5, -1, -1)
    fit = fitted(same, torch.arange(4_000) % 6)
    assert fit.stated.mean_members == pytest.approx(1, abs=0.01)
    assert fit.stated.agreement == 1


@pytest.mark.parametrize(
    "few",
    [
        lambda predictions: predictions[:1],  # one member leaves nothing out
        lambda predictions: predictions[:, :1],
        lambda predictions: predictions[:, :100],  # one of a half is more than 0.1 point
        lambda predictions: predictions[:, :2_080],  # and so it is here, with a standard error
    ],
)
def test_too_little_to_tell_means_no_cascade(few: Callable[[Tensor], Tensor]) -> None:
    predictions, _ = ensemble(4, 4_000)
    labels = pool(predictions).argmax(dim=1)  # a changed answer costs one
    assert fit_cascade(predictions, labels, 1.0) is not None
    fewer = few(predictions)
    assert fit_cascade(fewer, labels[: fewer.shape[1]], 1.0) is None
