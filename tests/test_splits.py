"""Validation pictures are drawn class by class, the same on every machine."""

import pytest
import torch

from models.errors import InvalidDataset
from training.datasets import Pictures
from training.splits import held_out, split_validation


def pictures(*counts: int) -> Pictures:
    """Return pictures whose first pixel is their row, so that rows can be told apart."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    rows = torch.arange(len(labels), dtype=torch.uint8)
    return Pictures(rows[:, None, None, None].expand(-1, 3, 2, 2), labels)


def rows(part: Pictures) -> list[int]:
    return [int(row) for row in part.images[:, 0, 0, 0]]


def counts(part: Pictures, classes: int) -> list[int]:
    return torch.bincount(part.labels, minlength=classes).tolist()


def test_every_picture_lands_in_exactly_one_part() -> None:
    train, validation = split_validation(pictures(20, 30, 10), 0.25, seed=1)
    assert sorted(rows(train) + rows(validation)) == list(range(60))


def test_every_class_gives_its_share() -> None:
    train, validation = split_validation(pictures(20, 30, 10), 0.1, seed=1)
    assert counts(validation, 3) == [2, 3, 1]
    assert counts(train, 3) == [18, 27, 9]


@pytest.mark.parametrize(("fraction", "given"), [(0.01, [1, 1, 1]), (0.99, [1, 2, 8])])
def test_a_small_class_gives_at_least_one_and_keeps_at_least_one(
    fraction: float, given: list[int]
) -> None:
    _, validation = split_validation(pictures(2, 3, 9), fraction, seed=1)
    assert counts(validation, 3) == given


@pytest.mark.parametrize(
    ("pictures", "fraction", "taken"),
    [(34, 0.1, 3), (37, 0.1, 4), (2, 0.001, 1), (2, 0.999, 1), (500, 0.1, 50), (9, 0.5, 4)],
)
def test_a_share_is_rounded_to_the_nearest(pictures: int, fraction: float, taken: int) -> None:
    assert held_out("a", pictures, fraction) == taken


def test_rows_keep_their_order() -> None:
    for part in split_validation(pictures(20, 30, 10), 0.3, seed=5):
        assert rows(part) == sorted(rows(part))


def test_labels_stay_with_their_pictures() -> None:
    whole = pictures(20, 30, 10)
    for part in split_validation(whole, 0.3, seed=5):
        assert part.labels.tolist() == whole.labels[rows(part)].tolist()


def test_the_draw_is_the_same_on_every_machine() -> None:
    _, validation = split_validation(pictures(10, 10), 0.3, seed=42)
    assert rows(validation) == [1, 2, 6, 13, 15, 18]


def test_another_seed_draws_others() -> None:
    draws = [rows(split_validation(pictures(50, 50), 0.2, seed)[1]) for seed in (0, 1)]
    assert draws[0] != draws[1]


def test_a_class_with_one_picture_is_refused_by_its_id() -> None:
    with pytest.raises(InvalidDataset, match="class id 1 has a single training picture"):
        split_validation(pictures(5, 1, 5), 0.1, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_validation(pictures(5, 5), fraction, seed=0)


@pytest.mark.parametrize(("less", "more"), [(0.05, 0.1), (0.1, 0.25), (0.3, 0.31), (0.2, 0.5)])
def test_a_larger_fraction_takes_all_that_a_smaller_one_does(less: float, more: float) -> None:
    whole = pictures(40, 25, 2, 33)
    taken = [set(rows(split_validation(whole, fraction, seed=0)[1])) for fraction in (less, more)]
    assert taken[0] <= taken[1]
