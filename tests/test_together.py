"""Several networks train at once in one process; what one suffers is told, what is claimed kept."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.errors import JobCancelled, NotEnoughMemory, TrainingDiverged
from models.resnet import ResNet
from tests.benches import PARTS, PLAN, Bench, bench_in
from training.fit import Run
from training.progress import EpochDone, Part


@pytest.fixture
def cores() -> Iterator[int]:
    """Three threads for this process, as on a machine of three cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


@pytest.fixture
def bench(data: Path, tmp_path: Path) -> Callable[[str], Bench]:
    return lambda name: bench_in(tmp_path / name, data)


@pytest.mark.usefixtures("cores")
def test_members_in_threads_get_the_weights_they_get_alone(bench: Callable[[str], Bench]) -> None:
    at_once, in_turn = bench("at once"), bench("in turn")
    at_once.train(replace(PLAN, together=3))
    assert torch.get_num_threads() == 3, "the process has its cores back"
    in_turn.train(replace(PLAN, together=1))
    assert torch.get_num_threads() == 3
    assert len(at_once.finished()) == 4
    assert at_once.finished() == in_turn.finished()
    assert len(set(at_once.finished().values())) == 4


def test_members_in_threads_really_train_at_once(bench: Callable[[str], Bench]) -> None:
    one = bench("one")
    one.train()
    epochs = [event.part.index for event in one.told if isinstance(event, EpochDone)]
    assert sorted(epochs) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [len(parts) for parts, _ in one.groups] == [1] * 4
    first_of_1, last_of_0 = epochs.index(1), len(epochs) - 1 - epochs[::-1].index(0)
    first_of_0, last_of_1 = epochs.index(0), len(epochs) - 1 - epochs[::-1].index(1)
    assert first_of_1 < last_of_0 or first_of_0 < last_of_1
    assert min(first_of_1, first_of_0) < 2


def test_side_by_side_takes_as_many_as_the_plan_says(bench: Callable[[str], Bench]) -> None:
    one = bench("one")
    one.train(replace(PLAN, together=3, side_by_side=True))
    assert [parts for parts, _ in one.groups] == [PARTS[:3], PARTS[3:]]
    assert len(one.finished()) == 4


def test_the_plans_pieces_and_recomputing_reach_the_training(
    bench: Callable[[str], Bench],
) -> None:
    one = bench("one")

    def nothing(parts: list[Part], run: Run) -> None: ...

    one.train(PLAN, do=nothing)
    one.train(replace(PLAN, micro_batch=12, recompute=True), do=nothing)
    assert {(run.micro_batch, run.recompute) for _, run in one.groups[:4]} == {(None, False)}
    assert {(run.micro_batch, run.recompute) for _, run in one.groups[4:]} == {(12, True)}


# What fails.


def test_the_first_failure_is_told_and_ends_the_others(bench: Callable[[str], Bench]) -> None:
    one = bench("one")

    def diverge(parts: list[Part], run: Run) -> None:
        if parts == PARTS[1:2]:
            raise TrainingDiverged(str(parts[0]))
        while True:  # as long as the others go on; the check is what ends it
            run.check()

    with pytest.raises(TrainingDiverged, match="member 1"):
        one.train(do=diverge)
    assert len(one.groups) == 2, "nothing is begun after a failure"
    assert one.plans() == []


def cancelled_in_time(one: Bench) -> Bench:
    """Return the same run, but one that is cancelled once it has told anything."""

    def check() -> None:
        if one.told:
            raise JobCancelled

    return Bench(replace(one.work, run=replace(one.work.run, check=check)), one.told)


@pytest.mark.parametrize("together", [1, 2])
def test_a_check_that_stops_the_work_stops_it_in_every_thread(
    together: int, bench: Callable[[str], Bench]
) -> None:
    one = bench("one")

    stopping = cancelled_in_time(one)
    with pytest.raises(JobCancelled):
        stopping.train(replace(PLAN, together=together))
    assert not one.finished()


@pytest.mark.parametrize("together", [1, 2])
def test_what_was_stopped_leaves_no_network_in_memory(
    together: int, bench: Callable[[str], Bench]
) -> None:
    one = bench("one")

    def networks() -> int:
        return sum(type(each) is ResNet for each in gc.get_objects())

    stopping = cancelled_in_time(one)
    gc.collect()
    before = networks()
    gc.disable()  # nor does one stay until the garbage collector's next round
    try:
        with pytest.raises(JobCancelled) as stopped:
            stopping.train(replace(PLAN, together=together))
        del stopped
        assert networks() == before
    finally:
        gc.enable()


# Claims.


def test_what_others_claimed_is_not_trained(bench: Callable[[str], Bench]) -> None:
    one = bench("one")
    one.train(claim=lambda part: part.index % 2 == 0)
    assert set(one.finished()) == {PARTS[0], PARTS[2]}
    assert sorted(one.asked, key=str) == PARTS


def test_what_is_finished_is_not_asked_for(bench: Callable[[str], Bench]) -> None:
    one = bench("one")
    one.train(claim=lambda part: part.index != 3)
    one.asked.clear()
    one.train()
    assert one.asked == [PARTS[3]]


def test_what_was_finished_while_it_was_claimed_is_left(bench: Callable[[str], Bench]) -> None:
    one, again = bench("one"), bench("one")

    def meanwhile(part: Part) -> bool:
        if part.index == 0:
            one.train(claim=lambda other: other.index == 0)
        return True

    again.train(replace(PLAN, together=1), claim=meanwhile)
    assert [parts for parts, _ in again.groups] == [[part] for part in PARTS[1:]]


# Memory that runs out.


def running_out(times: int, bench: Bench) -> Callable[[list[Part], Run], None]:
    """Return training that finds no memory, so many times."""
    left = iter(range(times))

    def train(parts: list[Part], run: Run) -> None:
        if next(left, None) is not None:
            raise torch.OutOfMemoryError
        bench.really_train(parts, run)

    return train


def test_when_memory_runs_out_a_smaller_plan_goes_on(
    bench: Callable[[str], Bench], caplog: pytest.LogCaptureFixture
) -> None:
    one, plain = bench("one"), bench("plain")
    one.train(replace(PLAN, together=4, side_by_side=True), do=running_out(2, one))
    plans = one.plans()
    assert [(plan.together, plan.side_by_side) for plan in plans] == [(2, True), (1, False)]
    assert [len(parts) for parts, _ in one.groups] == [4, 2, 1, 1, 1, 1]
    assert caplog.text.count("memory ran out with: ") == 2
    assert f"going on with: {plans[-1]}" in caplog.text
    assert one.asked == PARTS, "a claimed piece is asked for once"
    plain.train(replace(PLAN, together=1))
    assert one.finished() == plain.finished()


def test_without_a_smaller_plan_there_is_not_enough_memory(
    bench: Callable[[str], Bench],
) -> None:
    one = bench("one")
    with pytest.raises(NotEnoughMemory, match="there is no smaller plan than: 1 one by one on cpu"):
        one.train(replace(PLAN, together=4), do=running_out(99, one))
    assert one.plans()[-1].recompute
    assert len(one.groups) >= len(one.plans()) + 1
