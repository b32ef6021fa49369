"""What a worker is told of a job's pieces: events of the training in, news of the job out."""

import logging
import time
from dataclasses import replace

import pytest

from app.live import LiveWork, News
from tests.service import wait_until
from training.memory import MemoryPlan
from training.progress import (
    BatchDone,
    EpochDone,
    Event,
    MemoryPlanned,
    Part,
    PartDone,
    Planned,
    PlannedPart,
    Resumed,
)

TEACHER, ANSWERS = Part("teacher"), Part("answers")
FIRST, SECOND = Part("member", 0), Part("member", 1)
PLAN = Planned(
    tuple(PlannedPart(part, "resnet8", 2, 1e9) for part in (TEACHER, ANSWERS, FIRST, SECOND))
)
MEMORY = MemoryPlan(
    device="cpu",
    together=2,
    side_by_side=False,
    threads=1,
    batch_size=16,
    micro_batch=16,
    recompute=False,
    precision="fp32",
    answers_bytes=0,
    shared_bytes=100,
    each_bytes=10,
    limit_bytes=1000,
)


def epoch(part: Part, number: int) -> EpochDone:
    return EpochDone(part, number, 2, train_loss=1 / number, val_accuracy=number / 10, seconds=0.5)


def tell(live: LiveWork, *events: Event) -> News:
    for event in events:
        live(event)
    return live.take_news()


def trained(part: Part) -> list[Event]:
    both: list[Event] = [BatchDone(part, 1, 1.0), epoch(part, 1)]
    both += [BatchDone(part, 2, 1.0), epoch(part, 2)]
    return [*both, PartDone(part)]


@pytest.fixture
def live() -> LiveWork:
    live = LiveWork("0" * 32)
    live(PLAN)
    return live


def test_a_plan_is_news_and_no_piece_is() -> None:
    news = tell(LiveWork("0" * 32), PLAN, MemoryPlanned(MEMORY))
    assert news.operations == dict.fromkeys((TEACHER, ANSWERS, FIRST, SECOND), 2e9)
    assert news.plan == MEMORY.to_dict()
    assert news.plan["peak_bytes"] == 120
    assert (news.pieces, news.begun, news.epochs) == ({}, [], [])


def test_each_network_tells_its_epochs(live: LiveWork) -> None:
    news = tell(live, *trained(TEACHER), BatchDone(SECOND, 1, 0.5))
    teacher, second = news.pieces[TEACHER], news.pieces[SECOND]
    assert (teacher.status, teacher.epoch, teacher.progress) == ("succeeded", 2, 1.0)
    assert [each.epoch for each in teacher.curve] == [1, 2]
    assert (teacher.train_loss, teacher.val_accuracy) == (0.5, 0.2)
    assert (second.index, second.status, second.epoch, second.epochs) == (1, "running", 0, 2)
    assert second.progress == 0.25
    assert news.begun == [TEACHER, SECOND]
    told = [(each["role"], each["index"], each["epoch"]) for each in news.epochs]
    assert told == [("teacher", 0, 1), ("teacher", 0, 2)]


def test_answers_have_progress_and_no_epochs(live: LiveWork) -> None:
    halfway = tell(live, Resumed(ANSWERS, ()), BatchDone(ANSWERS, 2, 0.5)).pieces[ANSWERS]
    assert (halfway.status, halfway.progress, halfway.epoch) == ("running", 0.75, 0)
    news = tell(live, PartDone(ANSWERS))
    assert (news.pieces[ANSWERS].status, news.pieces[ANSWERS].progress) == ("succeeded", 1.0)
    assert news.epochs == []


def test_only_what_has_changed_is_news_and_only_once(live: LiveWork) -> None:
    assert tell(live, *trained(TEACHER)).pieces.keys() == {TEACHER}
    assert tell(live, BatchDone(FIRST, 1, 0.5), BatchDone(SECOND, 1, 0.5)).begun == [FIRST, SECOND]
    news = tell(live, BatchDone(FIRST, 1, 1.0), epoch(FIRST, 1))
    assert news.pieces.keys() == {FIRST}
    assert (news.begun, len(news.epochs)) == ([], 1)
    assert not tell(live)


def test_news_does_not_change_any_more(live: LiveWork) -> None:
    before = tell(live, BatchDone(FIRST, 1, 1.0), epoch(FIRST, 1)).pieces[FIRST]
    after = tell(live, BatchDone(FIRST, 2, 1.0), epoch(FIRST, 2)).pieces[FIRST]
    assert (len(before.curve), before.progress) == (1, 0.5)
    assert (len(after.curve), after.progress) == (2, 1.0)


def test_news_that_could_not_be_written_is_kept_beside_later_news(live: LiveWork) -> None:
    kept = tell(live, PLAN, BatchDone(FIRST, 1, 1.0), epoch(FIRST, 1))
    kept.add(tell(live, epoch(FIRST, 2), BatchDone(SECOND, 1, 0.5)))
    assert kept.operations
    assert (kept.pieces[FIRST].epoch, kept.pieces[SECOND].progress) == (2, 0.25)
    assert kept.begun == [FIRST, SECOND]
    assert [each["epoch"] for each in kept.epochs] == [1, 2]


def test_what_was_finished_before_does_not_begin(live: LiveWork) -> None:
    news = tell(live, Resumed(FIRST, (epoch(FIRST, 1), epoch(FIRST, 2))), PartDone(FIRST))
    assert news.pieces[FIRST].status == "succeeded"
    assert [each.epoch for each in news.pieces[FIRST].curve] == [1, 2]
    assert (news.begun, news.epochs) == ([], [])
    assert live.rate == 0  # nothing was done here


def test_what_goes_on_has_the_curve_it_resumes_and_no_other(live: LiveWork) -> None:
    tell(live, *trained(FIRST)[:4])  # two epochs, when memory runs out
    news = tell(live, Resumed(FIRST, (epoch(FIRST, 1),)), BatchDone(FIRST, 2, 0.5))
    piece = news.pieces[FIRST]
    assert (piece.status, piece.epoch, piece.progress) == ("running", 1, 0.75)
    assert [each.epoch for each in piece.curve] == [1]
    assert news.begun == [FIRST]


def test_the_rate_is_of_work_that_was_done_here() -> None:
    live = LiveWork("0" * 32)
    before = time.monotonic()
    live(PLAN)
    after = time.monotonic()
    assert live.rate == 0
    tell(live, Resumed(SECOND, (epoch(SECOND, 1),)), *trained(TEACHER)[:-1], epoch(SECOND, 2))
    wait_until(lambda: time.monotonic() - after > 100 * (after - before))
    earliest = time.monotonic()
    rate = live.rate
    latest = time.monotonic()
    # Three epochs of a billion operations; the fourth was found.
    assert 3e9 / (latest - before) <= rate <= 3e9 / (earliest - after)


def test_each_change_of_state_is_one_line_that_names_job_and_piece(
    live: LiveWork, caplog: pytest.LogCaptureFixture
) -> None:
    plan = MemoryPlanned(replace(MEMORY, together=1))
    with caplog.at_level(logging.INFO):
        found: list[Event] = [
            Resumed(FIRST, tuple(epoch(FIRST, n) for n in (1, 2))),
            PartDone(FIRST),
        ]
        tell(live, plan, *trained(TEACHER), *found, Resumed(SECOND, (epoch(SECOND, 1),)))
    begun = f"job {live.id}: "
    assert [record.getMessage().removeprefix(begun) for record in caplog.records] == [
        "teacher 0 begins",
        "teacher 0 is done, validation accuracy 0.200",
        "member 1 goes on after epoch 1",
    ]
