"""What is done is weighed by its work, and the time left follows from work done here."""

import time

import pytest

from training.progress import (
    BatchDone,
    DataRead,
    EpochDone,
    Evaluating,
    Part,
    PartDone,
    Planned,
    PlannedPart,
    Resumed,
    TimeLeft,
    operations,
)

TEACHER, FIRST, SECOND = Part("teacher"), Part("member", 0), Part("member", 1)
PLAN = Planned(
    (
        PlannedPart(TEACHER, "resnet20", epochs=2, operations_per_epoch=30.0),
        PlannedPart(FIRST, "resnet8", epochs=4, operations_per_epoch=5.0),
        PlannedPart(SECOND, "resnet8", epochs=4, operations_per_epoch=5.0),
    )
)  # 100 operations in all


def epoch(part: Part, number: int) -> EpochDone:
    return EpochDone(part, number, 4, train_loss=1.0, val_accuracy=0.5, seconds=1.0)


def test_the_share_weighs_each_epoch_by_its_operations() -> None:
    time_left = TimeLeft()
    shares = []
    for event in (
        DataRead(1, 2),
        PLAN,
        BatchDone(TEACHER, 1, 0.5),
        epoch(TEACHER, 1),
        BatchDone(TEACHER, 2, 1.0),
        epoch(TEACHER, 2),
        PartDone(TEACHER),
        BatchDone(FIRST, 3, 0.2),
        PartDone(FIRST),
        PartDone(SECOND),
        Evaluating(),
    ):
        time_left(event)
        shares.append(time_left.share)
    assert shares == pytest.approx([0, 0, 0.15, 0.3, 0.6, 0.6, 0.6, 0.71, 0.8, 1, 1])


def test_what_was_trained_before_counts_as_done() -> None:
    time_left = TimeLeft()
    for event in (PLAN, Resumed(TEACHER, (epoch(TEACHER, 1), epoch(TEACHER, 2)))):
        time_left(event)
    assert time_left.share == pytest.approx(0.6)


def test_nothing_is_estimated_before_something_was_done() -> None:
    time_left = TimeLeft()
    assert time_left.seconds_left is None
    assert time_left.share == 0
    for event in (PLAN, Resumed(FIRST, (epoch(FIRST, 1),)), PartDone(FIRST)):
        assert time_left.seconds_left is None
        time_left(event)


@pytest.mark.parametrize("found", [0, 2])
def test_the_estimate_goes_by_the_rate_of_work_done_here(found: int) -> None:
    time_left = TimeLeft()
    before = time.monotonic()
    time_left(PLAN)
    after = time.monotonic()
    if found:  # 60 of the 100 operations, in no time
        time_left(Resumed(TEACHER, (epoch(TEACHER, 1), epoch(TEACHER, 2))))
    time_left(epoch(FIRST, 1))  # 5 operations
    remaining_by_done = (100 - 30 * found - 5) / 5
    at_least = (time.monotonic() - after) * remaining_by_done
    estimate = time_left.seconds_left
    at_most = (time.monotonic() - before) * remaining_by_done
    assert estimate is not None
    assert at_least <= estimate <= at_most


def test_nothing_is_left_at_the_end() -> None:
    time_left = TimeLeft()
    for event in (PLAN, epoch(TEACHER, 2), epoch(FIRST, 4), epoch(SECOND, 4)):
        time_left(event)
    assert time_left.share == 1
    assert time_left.seconds_left == 0


def test_a_part_is_called_by_its_role_and_index() -> None:
    assert [str(part) for part in (TEACHER, FIRST, SECOND)] == ["teacher 0", "member 0", "member 1"]


def test_operations_are_those_of_the_literature() -> None:
    # pytorch-cifar-models counts 40.8 and 69.1 million multiplications for 20 and 32 layers.
    assert operations("resnet20", 32) == pytest.approx(2 * 40.8e6, rel=0.01)
    assert operations("resnet32", 32) == pytest.approx(2 * 69.1e6, rel=0.01)
    assert operations("resnet8", 64) == pytest.approx(4 * operations("resnet8", 32), rel=0.01)


def test_a_part_that_goes_back_to_its_checkpoint_takes_the_share_back() -> None:
    time_left = TimeLeft()
    for event in (PLAN, epoch(FIRST, 1), BatchDone(FIRST, 2, 0.5)):
        time_left(event)
    assert time_left.share == pytest.approx(0.075)
    time_left(Resumed(FIRST, (epoch(FIRST, 1),)))  # memory ran out in the second epoch
    assert time_left.share == pytest.approx(0.05)
    assert time_left.seconds_left is not None
    assert time_left.seconds_left > 0


def test_answers_count_a_view_as_an_epoch() -> None:
    answers = Part("answers", 1)
    time_left = TimeLeft()
    time_left(Planned((PlannedPart(answers, "", epochs=4, operations_per_epoch=25.0),)))
    time_left(BatchDone(answers, 2, 0.5))
    assert time_left.share == pytest.approx(1.5 / 4)
