"""From a recipe and pictures to an ensemble, the same however often it was interrupted."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from models.ensemble import EnsembleManifest
from models.errors import JobCancelled
from models.store import Store
from tests.tiny import COLOURS, RECIPE, go_on, ignore, same_weights
from training.calibration import fit_temperature
from training.datasets import Dataset, Pictures, load_dataset
from training.distill import distill, forget_run
from training.metrics import evaluate, pool
from training.progress import (
    BatchDone,
    Check,
    DataRead,
    EpochDone,
    Evaluating,
    Event,
    MemoryPlanned,
    Part,
    PartDone,
    Planned,
    Resumed,
)
from training.recipe import EnsembleTeacher, Recipe, TrainedTeacher
from training.splits import SPLIT_SEED, split_validation

TAUGHT = replace(RECIPE, teacher=(TrainedTeacher("resnet8", epochs=1),))


def run(
    store: Store,
    data: Path,
    recipe: Recipe = TAUGHT,
    *,
    report: Callable[[Event], None] = ignore,
    check: Check = go_on,
) -> EnsembleManifest:
    manifest = distill(recipe, data, store, "job", report=report, check=check)
    assert manifest is not None, "every piece was there to be claimed"
    return manifest


@dataclass
class Distilled:
    """An undisturbed distillation, and what it told."""

    store: Store
    manifest: EnsembleManifest
    events: list[Event]
    dataset: Dataset


@pytest.fixture(scope="module")
def distilled(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Distilled:
    root = tmp_path_factory.mktemp("distilled")
    store = Store(root / "store", release=root / "release")
    events: list[Event] = []
    manifest = run(store, data, report=events.append)
    return Distilled(store, manifest, events, load_dataset("noise", data, store.files))


def labels_of(distilled: Distilled, split: str) -> Pictures:
    if split == "test":
        assert distilled.dataset.test is not None
        return distilled.dataset.test
    return split_validation(distilled.dataset.train, TAUGHT.validation_fraction, SPLIT_SEED)[1]


# What is left in the store.


def test_the_manifest_says_what_was_made(distilled: Distilled) -> None:
    manifest = distilled.manifest
    assert distilled.store.ensembles() == [manifest]
    assert manifest.name == "tiny"
    assert manifest.network == "resnet8"
    assert manifest.classes == tuple(COLOURS)
    assert manifest.size == 32
    assert len(manifest.members) == 2
    assert manifest.recipe == TAUGHT.to_dict()
    assert manifest.dataset == {"name": "noise", "digest": distilled.dataset.digest}
    assert distilled.store.files.list("teachers") == list(manifest.teachers)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_metrics_are_those_of_the_saved_predictions(distilled: Distilled, split: str) -> None:
    saved = distilled.store.predictions(distilled.manifest.id, split)
    labels = labels_of(distilled, split).labels
    assert saved.shape == (2, len(labels), len(COLOURS))
    again = evaluate(saved, labels, distilled.manifest.temperature)
    assert distilled.manifest.metrics[split] == again


def test_the_temperature_is_fitted_on_validation_after_pooling(distilled: Distilled) -> None:
    saved = pool(distilled.store.predictions(distilled.manifest.id, "validation"))
    labels = labels_of(distilled, "validation").labels
    assert distilled.manifest.temperature == fit_temperature(saved, labels)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_loaded_ensemble_answers_as_was_saved(distilled: Distilled, split: str) -> None:
    ensemble = distilled.store.load(distilled.manifest.id)
    answers = ensemble(labels_of(distilled, split).images)
    saved = distilled.store.predictions(distilled.manifest.id, split)
    torch.testing.assert_close(answers, saved.exp(), atol=1e-4, rtol=0)


def test_the_report_has_the_curves_of_all_that_was_trained(distilled: Distilled) -> None:
    report = distilled.store.report(distilled.manifest.id)
    curves = {name: [epoch["epoch"] for epoch in of] for name, of in report["curves"].items()}
    assert curves == {"teacher 0": [1], "member 0": [1, 2], "member 1": [1, 2]}
    assert set(report["splits"]) == {"validation", "test"}


def test_several_teachers_are_trained_and_dealt_out(data: Path, store: Store) -> None:
    one = TrainedTeacher("resnet8", epochs=1)
    recipe = replace(RECIPE, members=3, epochs=1, distillation_weight=1.0)
    two = run(store, data, replace(recipe, teacher=(one, replace(one, seed=1))))
    assert sorted(store.files.list("teachers")) == sorted(two.teachers)
    forget_run(store, "job")
    first = run(store, data, replace(recipe, teacher=(one,)))
    same = [
        ours.sha256 == theirs.sha256
        for ours, theirs in zip(two.members, first.members, strict=True)
    ]
    assert same == [True, False, True], "the second of three has the second teacher"


def test_members_differ(distilled: Distilled) -> None:
    one, other = distilled.store.load(distilled.manifest.id).members
    assert not same_weights(one, other)


def test_a_run_that_was_not_forgotten_trains_nothing_again(
    distilled: Distilled, data: Path
) -> None:
    events: list[Event] = []
    again = run(distilled.store, data, report=events.append)
    assert again.id == distilled.manifest.id
    assert not [event for event in events if isinstance(event, BatchDone)]


def test_nothing_is_left_of_a_run_that_is_forgotten(data: Path, store: Store) -> None:
    run(store, data, replace(RECIPE, members=1, epochs=1))
    assert store.files.list("runs/job")
    forget_run(store, "job")
    assert not store.files.list("runs")


def test_a_finished_teacher_leaves_no_checkpoints(distilled: Distilled) -> None:
    (teacher,) = distilled.store.files.list("teachers")
    assert not distilled.store.files.exists(f"teachers/{teacher}/checkpoints")


def test_it_tells_the_plan_and_then_each_part_in_turn(distilled: Distilled) -> None:
    teacher, first, second = Part("teacher"), Part("member", 0), Part("member", 1)
    events = [event for event in distilled.events if not isinstance(event, BatchDone)]
    assert isinstance(events[0], DataRead)
    assert events[0].total == 4 * (24 + 8)
    plan, memory = (event for event in events if isinstance(event, (Planned, MemoryPlanned)))
    assert isinstance(plan, Planned)
    assert isinstance(memory, MemoryPlanned)
    assert memory.plan.together == 1, "with one core"
    assert [(part.part, part.network, part.epochs) for part in plan.parts] == [
        (teacher, "resnet8", 1),
        (first, "resnet8", 2),
        (second, "resnet8", 2),
    ]
    told = [event.part for event in events if isinstance(event, (EpochDone, PartDone))]
    assert told == [*[teacher] * 2, *[first] * 3, *[second] * 3]
    assert events[-1] == Evaluating()


# Interrupted, repeated, changed.


def stop_when(happened: Callable[[Event], bool]) -> tuple[Callable[[Event], None], Check]:
    """Return a report and a check that ends the work once an event has happened."""
    seen: list[Event] = []

    def report(event: Event) -> None:
        if happened(event):
            seen.append(event)

    def check() -> None:
        if seen:
            raise JobCancelled

    return report, check


@pytest.mark.parametrize(
    "part", [Part("teacher"), Part("member", 0)], ids=["after the teacher", "between members"]
)
def test_interrupted_and_resumed_makes_the_same_ensemble(
    part: Part, distilled: Distilled, data: Path, store: Store
) -> None:
    report, check = stop_when(lambda event: event == PartDone(part))
    with pytest.raises(JobCancelled):
        run(store, data, report=report, check=check)
    assert store.ensembles() == []
    events: list[Event] = []
    manifest = run(store, data, report=events.append)
    assert part in [event.part for event in events if isinstance(event, Resumed)]
    assert part not in [event.part for event in events if isinstance(event, BatchDone)]
    assert manifest.id == distilled.manifest.id
    assert manifest.members == distilled.manifest.members
    assert manifest.predictions == distilled.manifest.predictions
    assert manifest.metrics == distilled.manifest.metrics


def test_the_work_can_be_stopped_while_pictures_are_read(data: Path, store: Store) -> None:
    events: list[Event] = []
    report, check = stop_when(lambda event: isinstance(event, DataRead))

    def report_both(event: Event) -> None:
        events.append(event)
        report(event)

    with pytest.raises(JobCancelled):
        run(store, data, report=report_both, check=check)
    assert [type(event) for event in events] == [DataRead]


def test_an_ensemble_teaches_the_next(distilled: Distilled, data: Path) -> None:
    recipe = replace(
        RECIPE,
        name="second",
        members=1,
        epochs=1,
        teacher=(EnsembleTeacher(distilled.manifest.id),),
    )
    manifest = run(distilled.store, data, recipe)
    assert manifest.teachers == (distilled.manifest.id,)
    distilled.store.files.delete(f"ensembles/{manifest.id}")
