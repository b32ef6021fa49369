"""What a teacher answers to a kept view is computed once, kept small, and found by the next job."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.ensemble import EnsembleManifest
from models.errors import CorruptArtefact, JobCancelled
from models.store import Store
from tests.lessons import CPU, LESSON, stopping_after
from tests.tiny import COLOURS, RECIPE, go_on, ignore
from training.answers import answers_bytes, answers_folder, has_answers, keep_answers, read_answers
from training.augmentation import show
from training.datasets import Dataset
from training.distill import distill
from training.fit import Run
from training.progress import BatchDone, Check, Event, Part, PartDone
from training.recipe import Recipe, TrainedTeacher
from training.views import draw_kept_views

PART = Part("answers", 0)
FOLDER = "answers/of-a-teacher"
KEPT = replace(RECIPE, epochs=3, teacher_views=3)


@dataclass
class Asked:
    """A teacher that remembers what it was asked."""

    images: list[Tensor] = field(default_factory=list)

    def __call__(self, images: Tensor) -> Tensor:
        """Answer with the colours of a picture."""
        self.images.append(images)
        return images.float().mean(dim=(2, 3)) / 7


def keep(
    store: Store, teach: Asked, recipe: Recipe = KEPT, check: Check = go_on
) -> list[BatchDone | PartDone]:
    told: list[Event] = []
    run = Run(CPU, told.append, check)
    keep_answers(recipe, teach, PART, LESSON, folder=FOLDER, store=store, run=run)
    return [event for event in told if isinstance(event, (BatchDone, PartDone))]


def test_answers_are_those_to_the_views_that_are_shown(store: Store) -> None:
    keep(store, Asked())
    answers = read_answers(KEPT, FOLDER, store)
    assert answers is not None
    assert answers.shape == (3, 40, 3)
    assert answers.dtype == torch.float16
    for view, drawn in enumerate(draw_kept_views(3, LESSON.train, KEPT.augmentation)):
        expected = Asked()(show(LESSON.train.images, drawn))
        torch.testing.assert_close(answers[view].float(), expected, rtol=1e-3, atol=0)
    assert answers.nbytes == answers_bytes(replace(KEPT, teacher=(TrainedTeacher(),)), 40, 3)


def test_each_view_is_told_as_an_epoch(store: Store) -> None:
    told = keep(store, Asked())
    assert told == [*(BatchDone(PART, view, 1.0) for view in (1, 2, 3)), PartDone(PART)]


def test_what_is_answered_is_not_asked_again(store: Store) -> None:
    keep(store, Asked())
    again = Asked()
    assert keep(store, again) == [PartDone(PART)]
    assert again.images == []


def test_more_views_ask_for_the_new_ones_only(store: Store) -> None:
    keep(store, Asked())
    few = read_answers(KEPT, FOLDER, store)
    more, again = replace(KEPT, teacher_views=5), Asked()
    assert not has_answers(more, FOLDER, store)
    keep(store, again, more)
    assert len(again.images) == 2
    answers = read_answers(more, FOLDER, store)
    assert few is not None
    assert answers is not None
    assert torch.equal(answers[:3], few)


def test_interrupted_answers_go_on(store: Store) -> None:
    first, second = Asked(), Asked()
    with pytest.raises(JobCancelled):
        keep(store, first, check=stopping_after(2))
    assert not has_answers(KEPT, FOLDER, store)
    assert read_answers(KEPT, FOLDER, store) is None
    keep(store, second)
    assert (len(first.images), len(second.images)) == (2, 1)
    assert has_answers(KEPT, FOLDER, store)


@pytest.mark.parametrize("file", ["view-001.safetensors", "view-001.json"])
def test_damaged_answers_are_named_and_asked_for_again(
    file: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    keep(store, Asked())
    whole = read_answers(KEPT, FOLDER, store)
    store.files.write(f"{FOLDER}/{file}", b"")
    assert read_answers(KEPT, FOLDER, store) is None
    assert f"{FOLDER}/{file}" in caplog.text
    assert not has_answers(KEPT, FOLDER, store), "so the next to look answers it"
    keep(store, Asked())
    again = read_answers(KEPT, FOLDER, store)
    assert whole is not None
    assert again is not None
    assert torch.equal(again, whole)


# Which jobs share them.

DATASET = Dataset("noise", "of the pictures", tuple(COLOURS), LESSON.train, None, None)


def folder(recipe: Recipe, teacher: str = "a", *, is_ensemble: bool = False) -> str:
    return answers_folder(recipe, teacher, DATASET, is_ensemble)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"members": 7}, {"student": "resnet20"}, {"teacher_views": 9}, {"epochs": 9}],
)
def test_what_only_members_feel_needs_no_other_answers(change: dict[str, Any]) -> None:
    assert folder(replace(RECIPE, **change)) == folder(RECIPE)


def test_another_teacher_view_picture_or_precision_needs_others() -> None:
    for change in ({"augmentation": "none"}, {"precision": "bf16"}, {"validation_fraction": 0.1}):
        assert folder(replace(RECIPE, **change)) != folder(RECIPE)
    assert folder(RECIPE, "b") != folder(RECIPE)
    others = replace(DATASET, digest="of others")
    assert answers_folder(RECIPE, "a", others, is_ensemble=False) != folder(RECIPE)


def test_the_temperature_is_in_the_answers_of_ensembles_alone() -> None:
    hot = replace(RECIPE, temperature=9.0)
    assert folder(hot) == folder(RECIPE)
    assert folder(hot, is_ensemble=True) != folder(RECIPE, is_ensemble=True)


# In a run.

TAUGHT = replace(
    KEPT, members=2, epochs=1, teacher_views=2, teacher=(TrainedTeacher("resnet8", epochs=1),)
)


def run(
    store: Store, data: Path, recipe: Recipe, name: str
) -> tuple[EnsembleManifest, dict[Part, int]]:
    """Distil, and count the batches of each part."""
    batches: dict[Part, int] = {}

    def report(event: Event) -> None:
        if isinstance(event, BatchDone):
            batches[event.part] = batches.get(event.part, 0) + 1

    manifest = distill(recipe, data, store, name, report=report, check=go_on)
    assert manifest is not None
    return manifest, batches


def test_the_second_job_finds_the_answers_and_asks_no_teacher(data: Path, store: Store) -> None:
    first, batches = run(store, data, TAUGHT, "first")
    assert batches == {Part("teacher"): 4, PART: 2, Part("member", 0): 4, Part("member", 1): 4}
    second, batches = run(store, data, replace(TAUGHT, seed=1), "second")
    assert batches == {Part("member", 0): 4, Part("member", 1): 4}
    assert first.teachers == second.teachers
    assert first.id != second.id


def test_with_no_kept_views_the_teacher_is_asked_each_time(data: Path, store: Store) -> None:
    recipe = replace(TAUGHT, teacher_views=0)
    manifest, batches = run(store, data, recipe, "fresh")
    assert PART not in batches
    assert not store.files.list("answers")
    assert manifest.teachers


def test_answers_that_were_damaged_end_the_run_and_are_asked_for_by_the_next(
    data: Path, store: Store
) -> None:
    run(store, data, TAUGHT, "first")
    (of_teacher,) = store.files.list("answers")
    store.files.write(f"answers/{of_teacher}/view-001.safetensors", b"")
    other = replace(TAUGHT, seed=1)
    with pytest.raises(CorruptArtefact, match="answers of teacher 0 are damaged; try again"):
        distill(other, data, store, "second", report=ignore, check=go_on)
    _, batches = run(store, data, other, "second")
    assert batches[PART] == 1
