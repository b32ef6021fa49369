"""Members trained side by side end as each does alone, but for rounding."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import TrainingDiverged
from tests.lessons import (
    LESSON,
    MEMBERS,
    QUIET,
    THREE_EPOCHS,
    furthest,
    same,
    train,
    train_together,
)
from tests.tiny import RECIPE
from training.progress import BatchDone, EpochDone, Event, Part, PartDone
from training.recipe import Recipe
from training.views import Batch, FreshViews

THREE = replace(THREE_EPOCHS, members=3, temperature_spread=1.5, distillation_weight_spread=0.2)
MUON = replace(THREE, epochs=1, optimiser="muon", muon_learning_rate=0.02)


def a_teacher(images: Tensor) -> Tensor:
    """Answer by the brightness of a picture's quarters, float32 [n, 4]."""
    n, _, size, _ = images.shape
    quarters = images.float().view(n, 3, 2, size // 2, 2, size // 2).mean(dim=(1, 3, 5))
    return quarters.view(n, 4) / 10


@pytest.mark.parametrize("teach", [None, a_teacher], ids=["untaught", "taught"])
@pytest.mark.parametrize(
    ("recipe", "tolerance"),
    [
        # Rounding, but where a sum that is all but zero falls on the other side of a ReLU.
        pytest.param(THREE, 2e-3, id="sgd"),
        # Muon turns a last bit of a small gradient into more of the step.
        pytest.param(MUON, 4e-3, id="muon"),
    ],
)
def test_side_by_side_ends_as_alone(
    recipe: Recipe, tolerance: float, teach: None, tmp_path: Path
) -> None:
    beside = train_together(tmp_path / "beside", recipe, MEMBERS, teach=teach)
    for part, member in zip(MEMBERS, beside, strict=True):
        alone = train(tmp_path / "alone", recipe, part, teach=teach)
        assert furthest(member.weights, alone.weights) < tolerance, "weights and statistics"
        assert member.weights["stem.1.num_batches_tracked"] == 2 * recipe.epochs
        for ours, theirs in zip(member.curve, alone.curve, strict=True):
            assert ours.part == part
            assert ours.train_loss == pytest.approx(theirs.train_loss, abs=tolerance)
    first, second, _ = beside
    assert furthest(first.weights, second.weights) > 0.1, "members differ far more"


def test_two_runs_side_by_side_give_the_same_bits(tmp_path: Path) -> None:
    one, other = (train_together(tmp_path / name, THREE, MEMBERS) for name in "ab")
    assert all(map(same, one, other))


def test_a_checkpoint_left_side_by_side_goes_on_alone(tmp_path: Path) -> None:
    two_epochs = train_together(tmp_path, replace(THREE, epochs=2, schedule="constant"), MEMBERS)
    recipe = replace(THREE, schedule="constant")
    last = train(tmp_path, recipe, MEMBERS[1])
    assert last.curve[:2] == two_epochs[1].curve
    alone = train(tmp_path / "alone", recipe, MEMBERS[1])
    assert furthest(last.weights, alone.weights) < 2e-3


def test_each_member_is_told_of_by_its_name(tmp_path: Path) -> None:
    told: list[Event] = []
    train_together(tmp_path, THREE, MEMBERS, run=replace(QUIET, report=told.append))
    for kind, count in ((BatchDone, 6), (EpochDone, 3), (PartDone, 1)):
        parts = [event.part for event in told if isinstance(event, kind)]
        assert parts == MEMBERS * count


class Poisoned(FreshViews):
    """A teacher whose answers are no numbers."""

    def batch(self, rows: Tensor, generator: torch.Generator) -> Batch:
        """Return the pictures with such answers."""
        found = super().batch(rows, generator)
        return Batch(found.images, found.labels, torch.full((len(rows), 4), torch.nan))


def test_the_one_that_diverges_is_named(tmp_path: Path) -> None:
    fine = FreshViews(LESSON.train, "none", None)
    poisoned = Poisoned(LESSON.train, "none", None)
    with pytest.raises(TrainingDiverged, match=r"member 1 \(resnet8\) diverged in epoch 1"):
        train_together(tmp_path, RECIPE, MEMBERS, views=[fine, poisoned, fine])
    assert [path.name for path in sorted(tmp_path.iterdir())] == [str(Part("member", 0))]
