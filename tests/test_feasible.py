"""What cannot work is refused before anything is read, with the field and the reason."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from models.ensemble import EnsembleManifest
from models.errors import FieldProblem, InvalidRecipe
from models.store import Store
from tests.tiny import COLOURS, RECIPE, publish
from tests.trees import Tree, below, pack, png, tiny, unpack
from training.feasible import check_against_data, check_batch_size, check_ensemble
from training.recipe import EnsembleTeacher

PICTURE = png(1)
FIELD = "teacher.ensemble"


def problems(data: Path, store: Store, *teachers: str, **changes: Any) -> list[FieldProblem]:
    """Return what is wrong with the tiny recipe and these changes."""
    try:
        named = [EnsembleTeacher(id_) for id_ in teachers]
        check_against_data(replace(RECIPE, teacher=tuple(named), **changes), data, store)
    except InvalidRecipe as error:
        return error.problems
    return []


def test_what_works_is_accepted(data: Path, store: Store) -> None:
    assert problems(data, store) == []
    assert problems(data, store, publish(store).id) == []


# The data set.


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({}, "pets: there is no such folder with pictures, nor a .zip"),
        ({"README": b"x"}, "pets: has no train folder with a folder per class"),
        ({"train/a/1.png": PICTURE}, "pets/train: has one class, 'a'; needs two or more"),
        (tiny() | {"more.zip": b""}, "pets/more.zip: is no zip archive, or a damaged one: "),
        (tiny() | {"val/a/1.png": PICTURE}, "pets/val: must have the classes of train: missing b"),
        (
            tiny() | {"train/c/1.png": PICTURE},
            "pets/test: must have the classes of train: missing c",
        ),
        (
            below("train", tiny()) | {"train/c/1.png": PICTURE},
            "class 'c' has a single training picture: at least two are needed",
        ),
    ],
)
def test_a_data_set_that_cannot_be_used_is_the_field(
    tree: Tree, says: str, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    unpack(tree, tmp_path / "data/pets")
    (problem,) = problems(tmp_path / "data", store, dataset="pets", batch_size=2)
    assert problem.field == "dataset"
    assert problem.reason.startswith(says)


@pytest.mark.parametrize("relative", [False, True])
def test_no_reason_says_where_the_folder_is(
    relative: bool, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = Path("data") if relative else tmp_path / "data"
    unpack(tiny(), data / "mydata")
    pack(tiny(), data / "mydata.zip")  # a message of two places
    (problem,) = problems(data, store, dataset="mydata")
    first, second = problem.reason.split(": is also ")
    assert first == f"mydata.zip!/{second.removeprefix('mydata/')}"


def test_a_folder_that_is_not_seen_from_here_is_the_workers_to_judge(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for batch_size in (2, 60_000):
            assert problems(tmp_path / "away", store, batch_size=batch_size) == []
    (told,) = caplog.messages
    assert "away" in told
    (problem,) = problems(tmp_path / "away", store, "nobody")
    assert problem.field == "teacher.ensemble"


# Batches.


def test_a_batch_may_hold_all_there_is_to_train_on_but_no_more(data: Path, store: Store) -> None:
    assert problems(data, store, batch_size=72) == []
    (problem,) = problems(data, store, batch_size=73)
    assert problem == FieldProblem("batch_size", "73 is more than the 72 pictures to train on")
    assert problems(data, store, batch_size=73, validation_fraction=0.2) == []
    with pytest.raises(InvalidRecipe, match="batch_size: 73 is more"):
        check_batch_size(73, 72)


# Ensembles as teachers.


def test_a_teacher_knows_the_classes_of_the_data_set(data: Path, store: Store) -> None:
    other = publish(store, name="other", classes=("a", "b", "c", "d")).id
    (problem,) = problems(data, store, other)
    assert problem.field == "teacher.ensemble"
    assert problem.reason == f"{other} knows other classes than the data set noise"


def test_a_teacher_has_not_seen_what_is_validated_on(data: Path, store: Store) -> None:
    id_ = publish(store).id  # held out 0.25
    assert problems(data, store, id_, validation_fraction=0.25) == []
    (problem,) = problems(data, store, id_, validation_fraction=0.26)
    assert problem.field == "validation_fraction"
    assert problem.reason.startswith(f"{id_} held out only 0.25")


def check(manifest: EnsembleManifest, has_own_validation: bool, fraction: float) -> None:
    check_ensemble(
        FIELD,
        manifest,
        "noise",
        tuple(COLOURS),
        has_own_validation=has_own_validation,
        validation_fraction=fraction,
    )


def test_validation_pictures_of_their_own_no_teacher_has_seen(store: Store) -> None:
    manifest = publish(store)
    check_ensemble(
        FIELD,
        manifest,
        "noise",
        tuple(COLOURS),
        has_own_validation=True,
        validation_fraction=0.5,
    )
    with pytest.raises(InvalidRecipe, match="validation_fraction: "):
        check_ensemble(
            FIELD,
            manifest,
            "noise",
            tuple(COLOURS),
            has_own_validation=False,
            validation_fraction=0.5,
        )


def test_a_teacher_that_does_not_say_what_it_held_out_may_have_seen_all(store: Store) -> None:
    manifest = publish(store, recipe={})
    with pytest.raises(InvalidRecipe, match=r"validation_fraction: .* held out only 0\.0"):
        check_ensemble(
            FIELD,
            manifest,
            "noise",
            tuple(COLOURS),
            has_own_validation=False,
            validation_fraction=0.001,
        )


# Ensembles to begin with.


def test_members_begin_with_as_many_networks_of_their_own_kind(data: Path, store: Store) -> None:
    id_ = publish(store).id  # two resnet8
    assert problems(data, store, initial_ensemble=id_) == []
    assert problems(data, store, initial_ensemble=id_, members=1) == []
    for changes, reason in (
        ({"members": 3}, f"{id_} has 2 members, not 3"),
        ({"student": "resnet14"}, f"{id_} consists of resnet8, not of resnet14"),
    ):
        expected = FieldProblem("initial_ensemble", reason)
        assert problems(data, store, initial_ensemble=id_, **changes) == [expected]
    assert problems(data, store, id_, student="resnet14") == [], "a teacher may be of another kind"


def test_what_members_begin_with_has_not_seen_what_is_validated_on(
    data: Path, store: Store
) -> None:
    id_ = publish(store).id  # held out 0.25
    (problem,) = problems(data, store, initial_ensemble=id_, validation_fraction=0.3)
    assert problem.field == "validation_fraction"
    other = publish(store, name="other", classes=("a", "b", "c", "d")).id
    for named in ("nobody", other):
        (problem,) = problems(data, store, initial_ensemble=named)
        assert problem.field == "initial_ensemble"


def test_all_that_is_wrong_is_told_at_once(data: Path, store: Store) -> None:
    other = publish(store, name="other", classes=("a", "b", "c", "d")).id
    found = problems(data, store, "nobody", other, batch_size=1000)
    assert [problem.field for problem in found] == [
        "teacher.ensemble",
        "batch_size",
        "teacher.ensemble",
    ]
    assert found[0].reason == "no ensemble has the id 'nobody'"
