"""Members that learn together are one piece of work: one worker takes all of them, or none."""

from dataclasses import replace
from pathlib import Path

import pytest

from models.ensemble import EnsembleManifest
from models.errors import InvalidRecipe, JobCancelled
from models.store import Store
from tests.lessons import stopping_after
from tests.tiny import RECIPE, go_on, ignore, same_weights
from training.distill import distill
from training.progress import BatchDone, Check, EpochDone, Event, MemoryPlanned, Part
from training.recipe import Recipe

COUPLED = replace(RECIPE, pooled_weight=0.8)
MEMBERS = [Part("member", 0), Part("member", 1)]


def run(
    store: Store, data: Path, recipe: Recipe = COUPLED, *, check: Check = go_on
) -> EnsembleManifest:
    manifest = distill(recipe, data, store, "job", report=ignore, check=check)
    assert manifest is not None
    return manifest


def test_members_learn_together_whatever_interrupts_them(
    store: Store, data: Path, tmp_path: Path
) -> None:
    undisturbed = run(store, data)
    again = Store(tmp_path / "again", release=tmp_path / "none")
    with pytest.raises(JobCancelled):
        run(again, data, check=stopping_after(15))
    disturbed = run(again, data)
    assert (disturbed.id, disturbed.members) == (undisturbed.id, undisturbed.members)
    one, other = store.load(undisturbed.id).networks
    assert not same_weights(one, other)


def test_a_damaged_member_is_finished_again_and_none_is_trained_again(
    store: Store, data: Path
) -> None:
    made = run(store, data)
    (finished,) = Path(store.files.path("runs/job")).glob("*/member-01/finished.json")
    finished.write_text("{}")
    told: list[Event] = []
    again = distill(COUPLED, data, store, "job", report=told.append, check=go_on)
    assert again == made
    assert not [event for event in told if isinstance(event, BatchDone)]


@pytest.mark.parametrize(("theirs", "expected"), [(MEMBERS[0], MEMBERS[:1]), (MEMBERS[1], MEMBERS)])
def test_a_worker_that_cannot_have_all_of_them_trains_none(
    theirs: Part, expected: list[Part], store: Store, data: Path
) -> None:
    asked: list[Part] = []
    told: list[Event] = []

    def claim(part: Part) -> bool:
        asked.append(part)
        return part != theirs

    made = distill(COUPLED, data, store, "job", report=told.append, check=go_on, claim=claim)
    assert made is None
    assert asked == expected, "in order, and no more once one is in other hands"
    assert not [event for event in told if isinstance(event, BatchDone)]


def test_the_plan_holds_all_of_them_at_once(store: Store, data: Path) -> None:
    told: list[Event] = []
    recipe = replace(COUPLED, members=5, epochs=1)
    distill(recipe, data, store, "job", report=told.append, check=go_on)
    (plan,) = (event.plan for event in told if isinstance(event, MemoryPlanned))
    assert (plan.together, plan.side_by_side) == (5, True)
    epochs = [event.part.index for event in told if isinstance(event, EpochDone)]
    assert epochs == [0, 1, 2, 3, 4]


def test_an_ensemble_is_taken_further(store: Store, data: Path) -> None:
    first = run(store, data, replace(RECIPE, name="first"))
    slow = replace(COUPLED, initial_ensemble=first.id, learning_rate=1e-6, schedule="constant")
    further = run(store, data, slow)
    assert further.id != first.id
    assert further.recipe["initial_ensemble"] == first.id
    assert further.metrics["validation"]["pooled"]["nll"] == pytest.approx(
        first.metrics["validation"]["pooled"]["nll"], abs=0.2
    )
    before, after = (store.load(made.id).networks[1].state_dict() for made in (first, further))
    name = "classifier.weight"
    assert (before[name] - after[name]).abs().max() < 1e-3


def test_an_ensemble_of_others_is_no_beginning(store: Store, data: Path) -> None:
    first = run(store, data, replace(RECIPE, name="first", epochs=1))
    wider = replace(COUPLED, student="resnet14", initial_ensemble=first.id)
    with pytest.raises(InvalidRecipe, match="consists of resnet8, not of resnet14"):
        run(store, data, wider)
