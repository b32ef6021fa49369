"""The weights follow from the recipe, the part and what the teacher says, and from nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.errors import JobCancelled, TrainingDiverged
from tests.lessons import (
    LESSON,
    MEMBER,
    QUIET,
    THREE_EPOCHS,
    network_of,
    same,
    stopping_after,
    train,
    train_together,
)
from tests.tiny import RECIPE, noise
from training.checkpoints import Checkpoint
from training.datasets import Pictures
from training.fit import predict
from training.optimisers import learning_rate_at
from training.progress import BatchDone, Event, Part
from training.recipe import Recipe


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return train(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("optimiser", ["sgd", "muon"])
@pytest.mark.parametrize("initialisation", ["he", "dirac"])
def test_a_network_learns_what_can_be_learned(
    optimiser: str, initialisation: str, tmp_path: Path
) -> None:
    labels = torch.arange(64) % 4
    images = noise(64) // 4 + (labels * 48).to(torch.uint8)[:, None, None, None]  # by brightness
    pictures = Pictures(images[..., :16, :16], labels)
    lesson = replace(LESSON, train=pictures, validation=pictures)
    recipe = replace(RECIPE, epochs=10, augmentation="none", muon_learning_rate=0.02)
    how = {"optimiser": optimiser, "initialisation": initialisation}
    curve = train(tmp_path, replace(recipe, **how), lesson=lesson).curve  # type: ignore[arg-type]
    assert curve[-1].train_loss < curve[0].train_loss / 3
    assert curve[-1].val_accuracy > 0.95


def test_the_same_seed_gives_the_same_weights(undisturbed: Checkpoint, tmp_path: Path) -> None:
    torch.manual_seed(99)  # what torch drew before does not matter
    before = torch.random.get_rng_state()
    assert same(train(tmp_path), undisturbed)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("recipe", "part"),
    [
        (THREE_EPOCHS, Part("member", 1)),
        (THREE_EPOCHS, Part("teacher")),
        (replace(THREE_EPOCHS, seed=1), MEMBER),
        (replace(THREE_EPOCHS, augmentation="none"), MEMBER),
        (replace(THREE_EPOCHS, label_smoothing=0.1), MEMBER),
        (replace(THREE_EPOCHS, precision="bf16"), MEMBER),
        (replace(THREE_EPOCHS, initialisation="dirac"), MEMBER),
        (replace(THREE_EPOCHS, optimiser="muon"), MEMBER),
    ],
)
def test_another_member_seed_or_recipe_gives_other_weights(
    undisturbed: Checkpoint, recipe: Recipe, part: Part, tmp_path: Path
) -> None:
    assert not same(train(tmp_path, recipe, part), undisturbed)


def test_a_teacher_is_the_same_whichever_place_it_has_among_teachers(tmp_path: Path) -> None:
    first, second = (train(tmp_path, RECIPE, Part("teacher", place)) for place in (0, 1))
    assert same(first, second)


def test_progress_is_told_for_every_batch_and_epoch(tmp_path: Path) -> None:
    told: list[Event] = []
    curve = train(tmp_path, RECIPE, report=told.append).curve
    batches = [event for event in told if isinstance(event, BatchDone)]
    assert [(done.epoch, done.share) for done in batches] == [(1, 0.5), (1, 1), (2, 0.5), (2, 1)]
    assert [(done.epoch, done.epochs) for done in curve] == [(1, 2), (2, 2)]
    assert [event for event in told if event in curve] == list(curve)


def test_the_curve_has_the_accuracy_of_the_weights_it_describes(tmp_path: Path) -> None:
    last = train(tmp_path)
    logits = predict(network_of(last), LESSON.validation, LESSON.normalisation, QUIET)[0]
    right = (logits.argmax(dim=1) == LESSON.validation.labels).double().mean().item()
    assert last.curve[-1].val_accuracy == right


# The teacher.


def certain_of_class_0(images: Tensor) -> Tensor:
    return torch.tensor([9.0, 0, 0, 0]).expand(len(images), 4)


def test_a_teacher_without_weight_teaches_nothing(undisturbed: Checkpoint, tmp_path: Path) -> None:
    recipe = replace(THREE_EPOCHS, distillation_weight=0.0)
    assert same(train(tmp_path, recipe, teach=certain_of_class_0), undisturbed)


@pytest.mark.parametrize("kind", ["kl", "standardised_kl"])
def test_a_teacher_with_all_the_weight_makes_labels_irrelevant(kind: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, distillation_weight=1.0, distillation_loss=kind)  # type: ignore[arg-type]
    other = replace(LESSON, train=replace(LESSON.train, labels=LESSON.train.labels.flip(0)))
    one = train(tmp_path / "one", recipe, teach=certain_of_class_0)
    two = train(tmp_path / "two", recipe, teach=certain_of_class_0, lesson=other)
    assert same(one, two)


@pytest.mark.parametrize("kind", ["kl", "dkd", "standardised_kl"])
def test_the_student_comes_to_answer_as_its_teacher_does(kind: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=8, distillation_weight=0.9, distillation_loss=kind)  # type: ignore[arg-type]
    last = train(tmp_path, recipe, teach=certain_of_class_0)
    logits = predict(network_of(last), LESSON.train, LESSON.normalisation, QUIET)[0]
    assert (logits.argmax(dim=1) == 0).double().mean() > 0.9


def test_a_fading_teacher_weighs_half_as_much_half_way(tmp_path: Path) -> None:
    # One step an epoch, so the second of two is half way.
    steps = replace(RECIPE, epochs=2, batch_size=40, schedule="constant", distillation_weight=0.8)
    fading = replace(steps, distillation_schedule="fading")
    last = train(tmp_path / "fading", fading, teach=certain_of_class_0)
    train(tmp_path / "by hand", replace(steps, epochs=1), teach=certain_of_class_0)
    half = replace(steps, distillation_weight=0.4)
    assert same(last, train(tmp_path / "by hand", half, teach=certain_of_class_0))
    assert not same(last, train(tmp_path / "constant", steps, teach=certain_of_class_0))


def test_each_member_learns_at_its_own_temperature_and_weight(tmp_path: Path) -> None:
    spread = replace(RECIPE, members=3, temperature_spread=2.0, distillation_weight_spread=0.3)
    of_last = replace(RECIPE, members=3, temperature=8.0, distillation_weight=0.8)
    last = Part("member", 2)
    one = train(tmp_path / "one", spread, last, teach=certain_of_class_0)
    other = train(tmp_path / "other", of_last, last, teach=certain_of_class_0)
    assert same(one, other)


# A batch in pieces.


def in_pieces(folder: Path, recipe: Recipe, micro_batch: int | None) -> Checkpoint:
    run = replace(QUIET, micro_batch=micro_batch)
    return train_together(folder, recipe, [MEMBER], run=run)[0]


def test_the_loss_of_a_batch_in_pieces_is_the_mean_over_all_of_its_pictures(
    tmp_path: Path,
) -> None:
    # Every piece holds one picture many times, so that BatchNorm sees in each what it sees in all.
    one = Pictures(LESSON.train.images[:1].expand(16, 3, 16, 16), torch.zeros(16, dtype=torch.long))
    lesson = replace(LESSON, train=one)
    recipe = replace(RECIPE, epochs=1, augmentation="none", learning_rate=1e-6)
    losses = []
    for pieces in (None, 8, 6, 5):  # 6 pictures at most: pieces of 6, 6 and 4
        run = replace(QUIET, micro_batch=pieces)
        last = train_together(tmp_path / str(pieces), recipe, [MEMBER], lesson=lesson, run=run)[0]
        losses.append(last.curve[-1].train_loss)
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-4)


def test_a_batch_in_pieces_is_one_step_of_all_and_batchnorm_sees_each_piece(tmp_path: Path) -> None:
    told: list[Event] = []
    run = replace(QUIET, micro_batch=8, report=told.append)
    pieces = train_together(tmp_path / "pieces", RECIPE, [MEMBER], run=run)[0]
    whole = in_pieces(tmp_path / "whole", RECIPE, None)
    assert sum(isinstance(event, BatchDone) for event in told) == 4
    assert whole.weights["stem.1.num_batches_tracked"] == 4
    assert pieces.weights["stem.1.num_batches_tracked"] == 8
    assert not same(pieces, whole)


# Divergence.


def test_a_diverged_network_is_named_with_its_epoch(tmp_path: Path) -> None:
    wild = replace(THREE_EPOCHS, learning_rate=1e9)
    with pytest.raises(
        TrainingDiverged,
        match=r"member 0 \(resnet8\) diverged in epoch 1, .*; last good checkpoint: none",
    ):
        train(tmp_path, wild)


def test_a_diverged_network_names_its_last_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(JobCancelled):
        train(tmp_path, check=stopping_after(3))
    wild = replace(THREE_EPOCHS, learning_rate=1e9)
    with pytest.raises(TrainingDiverged, match=r"in epoch 2, .*; last good checkpoint: epoch 1"):
        train(tmp_path, wild)
    assert sorted(path.stem for path in (tmp_path / "member 0").glob("*.json")) == ["epoch-00001"]


def test_a_last_step_that_breaks_the_weights_is_seen(tmp_path: Path) -> None:
    one_step = replace(RECIPE, epochs=1, batch_size=40, learning_rate=1e30, schedule="constant")
    with pytest.raises(TrainingDiverged, match=r"in epoch 1, loss \d"):
        train(tmp_path, one_step)
    assert not (tmp_path / "member 0").exists()


# The schedule.


def test_one_cycle_warms_up_over_a_fifth_and_ends_at_zero() -> None:
    recipe = replace(RECIPE, schedule="one_cycle")
    rates = [learning_rate_at(share, recipe) for share in (0, 0.1, 0.2, 0.6, 1)]
    assert rates == pytest.approx([0.04, 0.52, 1, 0.5, 0])


def test_a_constant_rate_stays() -> None:
    recipe = replace(RECIPE, schedule="constant")
    assert {learning_rate_at(share / 10, recipe) for share in range(11)} == {1.0}
