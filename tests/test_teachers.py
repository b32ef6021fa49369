"""A teacher is trained once for all who want the same, or is a finished ensemble that fits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.errors import InvalidRecipe, JobCancelled
from models.store import Store
from tests.tiny import COLOURS, RECIPE, go_on, noise, publish
from training.datasets import Dataset, Pictures
from training.distill import normalisation_of
from training.fit import Lesson, Run, Teach
from training.losses import distillation_loss, soften
from training.progress import BatchDone, Event, PartDone, Resumed
from training.recipe import EnsembleTeacher, Recipe, TrainedTeacher
from training.teachers import TEACHER, ensemble_teacher, teacher_digest, trained_teacher

CPU = torch.device("cpu")
PICTURES = Pictures(noise(32), torch.arange(32) % 4)
DATASET = Dataset("noise", "of the pictures", tuple(COLOURS), PICTURES, None, None)
LESSON = Lesson(PICTURES, PICTURES, normalisation_of(PICTURES), len(COLOURS))
WANTED = TrainedTeacher("resnet8", epochs=1)


def teacher_from(
    store: Store, recipe: Recipe = RECIPE, wanted: TrainedTeacher = WANTED, **run: Any
) -> tuple[Teach, list[Event]]:
    told: list[Event] = []
    watched = Run(CPU, told.append, run.get("check", go_on))
    return trained_teacher(recipe, wanted, DATASET, LESSON, store=store, run=watched), told


def was_trained(told: list[Event]) -> bool:
    return any(isinstance(event, BatchDone) for event in told)


def test_a_teacher_gives_softened_probabilities(store: Store) -> None:
    images = noise(5, seed=3)
    teach, _ = teacher_from(store)
    hot, _ = teacher_from(store, replace(RECIPE, temperature=100.0))
    torch.testing.assert_close(teach(images).sum(dim=1), torch.ones(5))
    assert teach(images).shape == (5, 4)
    torch.testing.assert_close(hot(images), torch.full((5, 4), 0.25), atol=0.05, rtol=0)
    assert teach(images).std() > hot(images).std()


def test_the_second_job_finds_the_teacher_of_the_first(store: Store) -> None:
    first, told = teacher_from(store)
    assert was_trained(told)
    (curve,) = ((event,) for event in told if type(event).__name__ == "EpochDone")
    second, told = teacher_from(store)
    assert told == [Resumed(TEACHER, curve), PartDone(TEACHER)]  # type: ignore[arg-type]
    assert torch.equal(first(noise(9)), second(noise(9)))


def test_a_student_can_learn_from_what_a_teacher_gives(store: Store) -> None:
    teach, _ = teacher_from(store)
    logits = torch.zeros(4, 4, requires_grad=True)
    distillation_loss(logits, teach(noise(4)), 4.0).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


def test_a_teacher_learns_from_labels_alone_and_leaves_no_checkpoints(store: Store) -> None:
    teacher_from(store)
    (digest,) = store.files.list("teachers")
    assert store.files.list(f"teachers/{digest}") == ["manifest.json", "teacher.safetensors"]


def test_an_interrupted_teacher_goes_on_and_ends_the_same(store: Store, tmp_path: Path) -> None:
    wanted = replace(WANTED, epochs=2)
    left = iter(range(4))

    def check() -> None:
        if next(left, None) is None:
            raise JobCancelled

    with pytest.raises(JobCancelled):
        teacher_from(store, wanted=wanted, check=check)
    teach, told = teacher_from(store, wanted=wanted)
    assert isinstance(told[0], Resumed)
    undisturbed, _ = teacher_from(Store(tmp_path / "other"), wanted=wanted)
    assert torch.equal(teach(noise(9)), undisturbed(noise(9)))


@pytest.mark.parametrize("file", ["teacher.safetensors", "manifest.json"])
def test_a_damaged_teacher_is_named_and_trained_again(
    store: Store, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = teacher_from(store)
    (digest,) = store.files.list("teachers")
    store.files.write(f"teachers/{digest}/{file}", b"")
    again, told = teacher_from(store)
    assert was_trained(told)
    assert f"{digest}/{file}" in caplog.text
    assert torch.equal(whole(noise(9)), again(noise(9)))


# Which jobs share one.


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"preset": "strong"},
        {"student": "resnet20"},
        {"members": 7},
        {"epochs": 9},
        {"temperature": 9.0},
        {"distillation_weight": 0.9},
        {"promote": "always"},
    ],
)
def test_what_only_members_feel_does_not_train_another(change: dict[str, Any]) -> None:
    other = replace(RECIPE, **change)
    assert teacher_digest(other, WANTED, DATASET) == teacher_digest(RECIPE, WANTED, DATASET)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"learning_rate": 0.01},
        {"batch_size": 8},
        {"label_smoothing": 0.1},
        {"augmentation": "none"},
        {"precision": "bf16"},
        {"schedule": "constant"},
        {"validation_fraction": 0.5},
    ],
)
def test_what_a_teacher_feels_trains_another(change: dict[str, Any]) -> None:
    other = replace(RECIPE, **change)
    assert teacher_digest(other, WANTED, DATASET) != teacher_digest(RECIPE, WANTED, DATASET)


def test_another_network_epoch_or_picture_trains_another_and_a_folders_name_does_not() -> None:
    digest = teacher_digest(RECIPE, WANTED, DATASET)
    for wanted in (replace(WANTED, epochs=2), replace(WANTED, student="resnet14")):
        assert teacher_digest(RECIPE, wanted, DATASET) != digest
    assert teacher_digest(RECIPE, WANTED, replace(DATASET, digest="of others")) != digest
    renamed = replace(RECIPE, dataset="other"), WANTED, replace(DATASET, name="other")
    assert teacher_digest(*renamed) == digest


def test_another_seed_really_trains_another(store: Store) -> None:
    one, _ = teacher_from(store)
    other, told = teacher_from(store, replace(RECIPE, seed=1))
    assert was_trained(told)
    assert not torch.equal(one(noise(3)), other(noise(3)))


# A finished ensemble.


def taught_by(store: Store, id_: str, recipe: Recipe = RECIPE, dataset: Dataset = DATASET) -> Teach:
    return ensemble_teacher(recipe, EnsembleTeacher(id_), dataset, store, CPU)


def test_an_ensemble_teaches_the_average_of_its_members(store: Store) -> None:
    id_ = publish(store).id
    images = noise(5)
    ensemble = store.load(id_)
    pictures = ensemble.manifest.normalisation(images)
    expected: list[Tensor] = [soften(member(pictures), 4.0) for member in ensemble.members]
    torch.testing.assert_close(taught_by(store, id_)(images), sum(expected) / 2)


def test_an_ensemble_of_other_classes_cannot_teach(store: Store) -> None:
    id_ = publish(store, classes=("a", "b", "c", "d")).id
    with pytest.raises(InvalidRecipe, match=rf"teacher\.ensemble: {id_} knows other classes"):
        taught_by(store, id_)


def test_an_unknown_ensemble_cannot_teach(store: Store) -> None:
    with pytest.raises(InvalidRecipe, match=r"teacher\.ensemble: no ensemble has the id 'gone'"):
        taught_by(store, "gone")


def test_an_ensemble_that_saw_the_pictures_to_validate_on_cannot_teach(store: Store) -> None:
    id_ = publish(store).id  # held out 0.25
    for fraction in (0.1, 0.25):
        taught_by(store, id_, replace(RECIPE, validation_fraction=fraction))
    more = replace(RECIPE, validation_fraction=0.3)
    with pytest.raises(InvalidRecipe, match=r"validation_fraction: .* held out only 0\.25"):
        taught_by(store, id_, more)
    with_its_own = replace(DATASET, validation=PICTURES)
    taught_by(store, id_, more, with_its_own)
