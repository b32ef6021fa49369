"""A teacher is trained once for all who want the same, or is a finished ensemble that fits."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.errors import InvalidRecipe, JobCancelled
from models.store import Store
from tests.lessons import stopping_after
from tests.tiny import COLOURS, RECIPE, go_on, noise, publish
from training.datasets import Dataset, Pictures
from training.fit import Lesson, Run
from training.losses import softened_divergence
from training.progress import BatchDone, EpochDone, Event, Part, Resumed
from training.recipe import EnsembleTeacher, Recipe, TrainedTeacher
from training.teachers import (
    ensemble_teacher,
    find_teacher,
    network_teacher,
    teacher_digest,
    train_teacher,
)
from training.views import Teach
from training.work import normalisation_of

CPU = torch.device("cpu")
TEACHER = Part("teacher")
PICTURES = Pictures(noise(32)[..., :16, :16], torch.arange(32) % 4)
DATASET = Dataset("noise", "of the pictures", tuple(COLOURS), PICTURES, None, None)
LESSON = Lesson(PICTURES, PICTURES, normalisation_of(PICTURES), len(COLOURS))
WANTED = TrainedTeacher("resnet8", epochs=1)


def trained(
    store: Store,
    recipe: Recipe = RECIPE,
    wanted: TrainedTeacher = WANTED,
    part: Part = TEACHER,
    **run: Any,
) -> tuple[Teach, list[Event]]:
    """Train a teacher where there is none yet; return it, and what was told."""
    told: list[Event] = []
    watched = Run(CPU, told.append, run.get("check", go_on))
    digest = teacher_digest(recipe, wanted, DATASET)
    if find_teacher(store, digest, part) is None:
        train_teacher(recipe, wanted, part, LESSON, digest, store=store, run=watched)
    found = find_teacher(store, digest, part)
    assert found is not None
    return network_teacher(found[0], recipe, LESSON, CPU), told


def was_trained(told: list[Event]) -> bool:
    return any(isinstance(event, BatchDone) for event in told)


def test_a_teacher_gives_logits_that_a_student_can_learn_from(store: Store) -> None:
    teach, _ = trained(store)
    answers = teach(noise(5, seed=3))
    assert answers.shape == (5, 4)
    assert answers.dtype == torch.float32
    assert not answers.requires_grad
    logits = torch.zeros(5, 4, requires_grad=True)
    softened_divergence(logits, answers, 4.0).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.abs().sum() > 0


def test_the_second_job_finds_the_teacher_of_the_first_with_its_curve(store: Store) -> None:
    first, told = trained(store)
    (epoch,) = (event for event in told if isinstance(event, EpochDone))
    second, nothing = trained(store)
    assert nothing == []
    assert torch.equal(first(noise(9)), second(noise(9)))
    found = find_teacher(store, teacher_digest(RECIPE, WANTED, DATASET), TEACHER)
    assert found is not None
    assert found[1] == (epoch,)


def test_a_teacher_leaves_no_checkpoints(store: Store) -> None:
    trained(store)
    (digest,) = store.files.list("teachers")
    fences, manifest, weights = store.files.list(f"teachers/{digest}")
    assert (fences, manifest) == ("fences", "manifest.json")
    assert weights.endswith(".safetensors")


def test_an_interrupted_teacher_goes_on_and_ends_the_same(store: Store, tmp_path: Path) -> None:
    wanted = replace(WANTED, epochs=2)
    with pytest.raises(JobCancelled):
        trained(store, wanted=wanted, check=stopping_after(4))
    teach, told = trained(store, wanted=wanted)
    assert isinstance(told[0], Resumed)
    undisturbed, _ = trained(Store(tmp_path / "other"), wanted=wanted)
    assert torch.equal(teach(noise(9)), undisturbed(noise(9)))


@pytest.mark.parametrize("end", [".safetensors", ".json"])
def test_a_damaged_teacher_is_named_and_trained_again(
    store: Store, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = trained(store)
    (digest,) = store.files.list("teachers")
    (file,) = (name for name in store.files.list(f"teachers/{digest}") if name.endswith(end))
    store.files.write(f"teachers/{digest}/{file}", b"")
    again, told = trained(store)
    assert was_trained(told)
    assert f"{digest}/{file}" in caplog.text
    assert torch.equal(whole(noise(9)), again(noise(9)))


# Which jobs share one.


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"preset": "strong"},
        {"seed": 1},
        {"student": "resnet20"},
        {"members": 7},
        {"epochs": 9},
        {"temperature": 9.0},
        {"temperature_spread": 2.0},
        {"distillation_loss": "dkd"},
        {"distillation_weight": 0.9},
        {"distillation_weight_spread": 0.1},
        {"teacher_views": 4},
        {"teacher": (WANTED, EnsembleTeacher("a"))},
        {"promote": "always"},
    ],
)
def test_what_only_members_feel_does_not_train_another(change: dict[str, Any]) -> None:
    other = replace(RECIPE, **change)
    assert teacher_digest(other, WANTED, DATASET) == teacher_digest(RECIPE, WANTED, DATASET)


@pytest.mark.parametrize(
    "change",
    [
        {"optimiser": "muon"},
        {"learning_rate": 0.01},
        {"muon_learning_rate": 0.01},
        {"muon_weight_decay": 0.01},
        {"batch_size": 8},
        {"initialisation": "dirac"},
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


def test_another_network_epoch_seed_or_picture_trains_another() -> None:
    digest = teacher_digest(RECIPE, WANTED, DATASET)
    for change in ({"epochs": 2}, {"student": "resnet14"}, {"seed": 1}):
        assert teacher_digest(RECIPE, replace(WANTED, **change), DATASET) != digest
    assert teacher_digest(RECIPE, WANTED, replace(DATASET, digest="of others")) != digest


def test_the_name_of_a_data_sets_folder_does_not_train_another() -> None:
    renamed = replace(RECIPE, dataset="other"), WANTED, replace(DATASET, name="other")
    assert teacher_digest(*renamed) == teacher_digest(RECIPE, WANTED, DATASET)


def test_the_seed_of_the_teacher_decides_its_weights_and_that_of_the_job_does_not(
    store: Store, tmp_path: Path
) -> None:
    images = noise(3)
    one, _ = trained(store)
    of_another_job, _ = trained(Store(tmp_path / "other"), replace(RECIPE, seed=1))
    assert torch.equal(one(images), of_another_job(images))
    other, told = trained(store, wanted=replace(WANTED, seed=1))
    assert was_trained(told)
    assert not torch.equal(one(images), other(images))


def test_a_teacher_is_the_same_whichever_place_it_has(store: Store, tmp_path: Path) -> None:
    first, _ = trained(store)
    second, told = trained(Store(tmp_path / "other"), part=Part("teacher", 1))
    assert {event.part for event in told} == {Part("teacher", 1)}  # type: ignore[union-attr]
    assert torch.equal(first(noise(3)), second(noise(3)))


# A finished ensemble.


def taught_by(store: Store, id_: str, recipe: Recipe = RECIPE, dataset: Dataset = DATASET) -> Teach:
    return ensemble_teacher(recipe, EnsembleTeacher(id_), dataset, store, CPU)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_an_ensembles_logits_soften_to_the_average_of_its_members_softened_softmax(
    temperature: float, store: Store
) -> None:
    id_ = publish(store, members=3).id
    images = noise(5)
    ensemble = store.load(id_)
    pictures = ensemble.manifest.normalisation(images)
    with torch.no_grad():
        members: list[Tensor] = [member(pictures) for member in ensemble.members]
    expected = sum((logits / temperature).softmax(dim=1) for logits in members) / 3
    taught = taught_by(store, id_, replace(RECIPE, temperature=temperature))(images)
    torch.testing.assert_close((taught / temperature).softmax(dim=1), expected)


def test_an_ensemble_that_is_certain_gives_finite_logits(store: Store) -> None:
    first = publish(store)
    certain = [dict(member.state_dict()) for member in store.load(first.id).members]
    for weights in certain:
        weights["classifier.bias"] = torch.tensor([900.0, 0.0, 0.0, 0.0])
    manifest = store.publish(replace(first, id=""), certain, {})
    taught = taught_by(store, manifest.id, replace(RECIPE, temperature=0.1))(noise(2))
    assert taught.isfinite().all()
    assert (taught[:, 0] - taught[:, 1]).min() > 800


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
