"""However often training was interrupted, and wherever, it ends with the same weights."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import JobCancelled
from tests.lessons import (
    MEMBER,
    MEMBERS,
    QUIET,
    THREE_EPOCHS,
    same,
    stopping_after,
    train,
    train_together,
)
from training.checkpoints import Checkpoint
from training.progress import BatchDone, EpochDone, Event, Part, PartDone, Resumed
from training.recipe import Recipe

MUON = replace(THREE_EPOCHS, optimiser="muon", muon_learning_rate=0.02)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return train(tmp_path_factory.mktemp("undisturbed"))


# An epoch has two checks for its steps and one for its validation.


@pytest.mark.parametrize("checks", range(9))
def test_interrupted_anywhere_and_resumed_gives_the_same_weights(
    checks: int, undisturbed: Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(JobCancelled):
        train(tmp_path, check=stopping_after(checks))
    told: list[Event] = []
    last = train(tmp_path, report=told.append)
    assert same(last, undisturbed)
    assert [done.epoch for done in last.curve] == [1, 2, 3]
    resumed = [len(event.curve) for event in told if isinstance(event, Resumed)]
    assert resumed == ([checks // 3] if checks >= 3 else [])


def test_interrupted_again_and_again_gives_the_same_weights(
    undisturbed: Checkpoint, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(JobCancelled):
            train(tmp_path, check=stopping_after(4))
    assert same(train(tmp_path), undisturbed)


def test_the_momentum_of_muon_is_kept_too(tmp_path: Path) -> None:
    with pytest.raises(JobCancelled):
        train(tmp_path / "interrupted", MUON, check=stopping_after(4))
    assert same(train(tmp_path / "interrupted", MUON), train(tmp_path / "undisturbed", MUON))


def test_without_momentum_there_is_none_to_keep(tmp_path: Path) -> None:
    plain = replace(THREE_EPOCHS, momentum=0.0, nesterov=False)
    with pytest.raises(JobCancelled):
        train(tmp_path / "interrupted", plain, check=stopping_after(4))
    resumed = train(tmp_path / "interrupted", plain)
    assert same(resumed, train(tmp_path / "undisturbed", plain))
    assert not resumed.momentum


def test_a_damaged_newest_checkpoint_costs_an_epoch_and_nothing_else(
    undisturbed: Checkpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(JobCancelled):
        train(tmp_path, check=stopping_after(6))
    newest = tmp_path / "member 0/epoch-00002.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        last = train(tmp_path)
    assert same(last, undisturbed)
    assert f"using the one before: {newest}: has" in caplog.text


def test_a_finished_network_is_not_trained_again(undisturbed: Checkpoint, tmp_path: Path) -> None:
    curve = train(tmp_path).curve
    told: list[Event] = []
    again = train(tmp_path, report=told.append, check=stopping_after(0))
    assert same(again, undisturbed)
    assert again.curve == curve
    assert told == [Resumed(MEMBER, curve), PartDone(MEMBER)]


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    train(tmp_path)
    assert sorted(path.stem for path in (tmp_path / "member 0").glob("*.json")) == [
        "epoch-00002",
        "epoch-00003",
    ]


# Side by side.


@pytest.fixture(scope="module", params=[THREE_EPOCHS, MUON], ids=["sgd", "muon"])
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def beside(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    return train_together(tmp_path_factory.mktemp("beside"), recipe, MEMBERS)


def resumed(folder: Path, recipe: Recipe) -> tuple[list[Checkpoint], list[Event]]:
    told: list[Event] = []
    return train_together(folder, recipe, MEMBERS, run=replace(QUIET, report=told.append)), told


def first_epochs(told: list[Event]) -> set[int]:
    return {min(event.epoch for event in told if isinstance(event, BatchDone))}


@pytest.mark.parametrize("checks", [2, 4, 8])
def test_members_side_by_side_resume_to_the_same_weights(
    checks: int, recipe: Recipe, beside: list[Checkpoint], tmp_path: Path
) -> None:
    with pytest.raises(JobCancelled):
        train_together(tmp_path, recipe, MEMBERS, run=replace(QUIET, check=stopping_after(checks)))
    last, told = resumed(tmp_path, recipe)
    assert all(map(same, last, beside))
    assert first_epochs(told) == {checks // 3 + 1}


def ending_at(part: Part, epoch: int) -> Callable[[Event], None]:
    """Return a report that ends the work when this part has written this epoch's checkpoint."""

    def report(event: Event) -> None:
        if isinstance(event, EpochDone) and (event.part, event.epoch) == (part, epoch):
            raise JobCancelled

    return report


@pytest.mark.parametrize("part", MEMBERS[:2], ids=str)
def test_some_that_are_an_epoch_ahead_of_others_wait_for_them(
    part: Part, recipe: Recipe, beside: list[Checkpoint], tmp_path: Path
) -> None:
    with pytest.raises(JobCancelled):
        train_together(tmp_path, recipe, MEMBERS, run=replace(QUIET, report=ending_at(part, 2)))
    ahead = {path.parent.name for path in tmp_path.glob("*/epoch-00002.json")}
    assert ahead == {str(one) for one in MEMBERS[: part.index + 1]}
    last, told = resumed(tmp_path, recipe)
    assert all(map(same, last, beside))
    assert first_epochs(told) == {2}


def test_a_damaged_checkpoint_of_one_takes_all_one_epoch_back(
    recipe: Recipe, beside: list[Checkpoint], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(JobCancelled):
        train_together(tmp_path, recipe, MEMBERS, run=replace(QUIET, check=stopping_after(7)))
    (tmp_path / "member 1/epoch-00002.safetensors").write_bytes(b"")
    last, told = resumed(tmp_path, recipe)
    assert all(map(same, last, beside))
    assert first_epochs(told) == {2}
    assert "damaged checkpoint of member 1, using the one before" in caplog.text


def test_when_one_has_lost_its_checkpoints_all_begin_anew(
    recipe: Recipe, beside: list[Checkpoint], tmp_path: Path
) -> None:
    with pytest.raises(JobCancelled):
        train_together(tmp_path, recipe, MEMBERS, run=replace(QUIET, check=stopping_after(7)))
    shutil.rmtree(tmp_path / "member 1")
    last, told = resumed(tmp_path, recipe)
    assert all(map(same, last, beside))
    assert first_epochs(told) == {1}
    assert not [event for event in told if isinstance(event, Resumed)]
