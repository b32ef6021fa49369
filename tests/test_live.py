"""The record of a running job: training's events in, what its owner sees out."""

from datetime import UTC, datetime

import pytest

from app.live import LiveJob
from app.schemas import Job, MemberProgress, NetworkProgress
from training.progress import BatchDone, EpochDone, Part, PartDone, Planned, PlannedPart, Resumed

Told = BatchDone | EpochDone | PartDone | Planned | Resumed
TEACHER, FIRST, SECOND = Part("teacher"), Part("member", 0), Part("member", 1)
PLAN = Planned(tuple(PlannedPart(part, "resnet8", 2, 1e9) for part in (TEACHER, FIRST, SECOND)))


def job() -> Job:
    return Job(
        id="0" * 32,
        status="queued",
        recipe={},
        teacher=NetworkProgress(epochs=2),
        members=[MemberProgress(index=index, epochs=2) for index in (0, 1)],
        created_at=datetime.now(UTC),
    )


def epoch(part: Part, number: int) -> EpochDone:
    return EpochDone(part, number, 2, train_loss=1 / number, val_accuracy=number / 10, seconds=0.5)


def told(live: LiveJob, *events: Told) -> Job:
    for event in events:
        live(event)
    return live.snapshot()


def trained(part: Part) -> list[Told]:
    both: list[Told] = [BatchDone(part, 1, 1.0), epoch(part, 1)]
    both += [BatchDone(part, 2, 1.0), epoch(part, 2)]
    return [*both, PartDone(part)]


def test_a_job_runs_from_the_moment_a_worker_has_it() -> None:
    seen = LiveJob(job()).snapshot()
    assert seen.status == "running"
    assert seen.started_at is not None
    assert (seen.progress, seen.eta_seconds) == (0.0, None)


def test_each_network_tells_its_epochs() -> None:
    live = LiveJob(job())
    seen = told(live, PLAN, *trained(TEACHER), BatchDone(FIRST, 1, 0.5), BatchDone(FIRST, 1, 1.0))
    assert seen.teacher is not None
    assert (seen.teacher.status, seen.teacher.epoch) == ("succeeded", 2)
    assert [each.epoch for each in seen.teacher.curve] == [1, 2]
    assert (seen.teacher.train_loss, seen.teacher.val_accuracy) == (0.5, 0.2)
    assert [(each.status, each.attempts) for each in seen.members] == [
        ("running", 1),
        ("queued", 0),
    ]
    assert seen.progress == pytest.approx(3 / 6)
    assert seen.eta_seconds is not None


def test_finished_epochs_are_handed_out_once() -> None:
    live = LiveJob(job())
    told(live, PLAN, *trained(TEACHER), epoch(FIRST, 1))
    found = [(each["role"], each["index"], each["epoch"]) for each in live.take_epochs()]
    assert found == [("teacher", 0, 1), ("teacher", 0, 2), ("member", 0, 1)]
    assert live.take_epochs() == []


def test_a_snapshot_does_not_change_any_more() -> None:
    live = LiveJob(job())
    before = told(live, PLAN)
    told(live, *trained(TEACHER))
    assert before.teacher == NetworkProgress(epochs=2)


@pytest.mark.parametrize("epochs", [0, 1])
def test_what_a_lost_worker_was_training_counts_as_begun_again(epochs: int) -> None:
    begun = [epoch(SECOND, 1)] * epochs
    lost = told(LiveJob(job()), PLAN, *trained(FIRST), BatchDone(SECOND, 1, 0.5), *begun)
    found: list[Told] = [Resumed(FIRST, (epoch(FIRST, 1), epoch(FIRST, 2))), PartDone(FIRST)]
    found += [Resumed(SECOND, tuple(begun))] if begun else []
    seen = told(LiveJob(lost), PLAN, *found, BatchDone(SECOND, epochs + 1, 0.5))
    assert [(each.status, each.attempts) for each in seen.members] == [
        ("succeeded", 1),
        ("running", 2),
    ]
    assert [len(each.curve) for each in seen.members] == [2, epochs]


def test_an_attempt_begins_with_the_curve_it_resumes_and_no_other() -> None:
    lost = told(LiveJob(job()), PLAN, *trained(TEACHER), BatchDone(FIRST, 1, 1.0), epoch(FIRST, 1))
    seen = LiveJob(lost).snapshot()
    assert [(each.status, each.epoch, each.curve) for each in seen.members] == [
        ("queued", 0, [])
    ] * 2
    again = told(LiveJob(lost), PLAN, Resumed(TEACHER, (epoch(TEACHER, 1), epoch(TEACHER, 2))))
    assert again.teacher is not None
    assert [each.epoch for each in again.teacher.curve] == [1, 2]
