"""The weights follow from the recipe and the part, however often the training was interrupted."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from models.ensemble import Normalisation
from models.errors import JobCancelled, TrainingDiverged
from models.files import Files
from models.resnet import ResNet
from tests.tiny import RECIPE, go_on, ignore, noise, same_weights
from training.checkpoints import Checkpoints
from training.datasets import Pictures
from training.fit import Lesson, Run, Teach, fit, learning_rate_at, predict
from training.losses import soften
from training.progress import BatchDone, Check, EpochDone, Event, Part, PartDone, Resumed
from training.recipe import Recipe

MEMBER = Part("member", 0)
CPU = torch.device("cpu")
LESSON = Lesson(
    train=Pictures(noise(40), torch.arange(40) % 4),
    validation=Pictures(noise(12, seed=1), torch.arange(12) % 4),
    normalisation=Normalisation((0.5, 0.5, 0.5), (0.3, 0.3, 0.3)),
    classes=4,
)
THREE_EPOCHS = replace(RECIPE, epochs=3)  # of two steps: 8 of the 40 pictures wait each time


def train(
    folder: Path,
    recipe: Recipe = THREE_EPOCHS,
    part: Part = MEMBER,
    *,
    lesson: Lesson = LESSON,
    teach: Teach | None = None,
    check: Check = go_on,
    report: Callable[[Event], None] = ignore,
) -> tuple[ResNet, tuple[EpochDone, ...]]:
    checkpoints = Checkpoints(Files(folder), "run")
    return fit(recipe, part, lesson, teach, checkpoints=checkpoints, run=Run(CPU, report, check))


def stopping_after(checks: int) -> Check:
    """Return a check that ends the work when it is called once more than that."""
    left = iter(range(checks))

    def check() -> None:
        if next(left, None) is None:
            raise JobCancelled

    return check


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> ResNet:
    return train(tmp_path_factory.mktemp("undisturbed"))[0]


def test_a_network_learns_what_can_be_learned(tmp_path: Path) -> None:
    labels = torch.arange(64) % 4
    images = noise(64) // 4 + (labels * 48).to(torch.uint8)[:, None, None, None]  # by brightness
    lesson = replace(LESSON, train=Pictures(images, labels), validation=Pictures(images, labels))
    recipe = replace(RECIPE, epochs=10, augmentation="none")
    network, curve = train(tmp_path, recipe, lesson=lesson)
    assert curve[-1].train_loss < curve[0].train_loss / 3
    assert curve[-1].val_accuracy > 0.95
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_the_same_seed_gives_the_same_weights(undisturbed: ResNet, tmp_path: Path) -> None:
    torch.manual_seed(99)  # what torch drew before does not matter
    before = torch.random.get_rng_state()
    assert same_weights(train(tmp_path)[0], undisturbed)
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
    ],
)
def test_another_member_seed_or_recipe_gives_other_weights(
    undisturbed: ResNet, recipe: Recipe, part: Part, tmp_path: Path
) -> None:
    assert not same_weights(train(tmp_path, recipe, part)[0], undisturbed)


# Interrupted and continued. An epoch has two checks for its steps and one for its validation.


@pytest.mark.parametrize("checks", range(9))
def test_interrupted_anywhere_and_resumed_gives_the_same_weights(
    checks: int, undisturbed: ResNet, tmp_path: Path
) -> None:
    with pytest.raises(JobCancelled):
        train(tmp_path, check=stopping_after(checks))
    told: list[Event] = []
    network, curve = train(tmp_path, report=told.append)
    assert same_weights(network, undisturbed)
    assert [done.epoch for done in curve] == [1, 2, 3]
    resumed = [len(event.curve) for event in told if isinstance(event, Resumed)]
    assert resumed == ([checks // 3] if checks >= 3 else [])


def test_interrupted_again_and_again_gives_the_same_weights(
    undisturbed: ResNet, tmp_path: Path
) -> None:
    for _ in range(2):
        with pytest.raises(JobCancelled):
            train(tmp_path, check=stopping_after(4))
    assert same_weights(train(tmp_path)[0], undisturbed)


def test_a_damaged_newest_checkpoint_costs_an_epoch_and_nothing_else(
    undisturbed: ResNet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(JobCancelled):
        train(tmp_path, check=stopping_after(6))
    newest = tmp_path / "run/epoch-00002.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        network, _ = train(tmp_path)
    assert same_weights(network, undisturbed)
    assert f"using the one before: {newest}: has" in caplog.text


def test_a_finished_network_is_not_trained_again(undisturbed: ResNet, tmp_path: Path) -> None:
    _, curve = train(tmp_path)
    told: list[Event] = []
    network, again = train(tmp_path, report=told.append, check=stopping_after(0))
    assert same_weights(network, undisturbed)
    assert again == curve
    assert told == [Resumed(MEMBER, curve), PartDone(MEMBER)]


def test_the_last_two_checkpoints_are_kept(tmp_path: Path) -> None:
    train(tmp_path)
    assert sorted(path.stem for path in (tmp_path / "run").glob("*.json")) == [
        "epoch-00002",
        "epoch-00003",
    ]


def test_batches_and_epochs_are_told_as_they_happen(tmp_path: Path) -> None:
    told: list[Event] = []
    _, curve = train(tmp_path, replace(RECIPE, epochs=2), report=told.append)
    assert told == [
        *(BatchDone(MEMBER, 1, 0.5), BatchDone(MEMBER, 1, 1.0), curve[0]),
        *(BatchDone(MEMBER, 2, 0.5), BatchDone(MEMBER, 2, 1.0), curve[1]),
        PartDone(MEMBER),
    ]
    assert [(done.epoch, done.epochs) for done in curve] == [(1, 2), (2, 2)]


def test_the_curve_has_the_accuracy_of_the_weights_it_describes(tmp_path: Path) -> None:
    network, curve = train(tmp_path)
    run = Run(CPU, ignore, go_on)
    logits = predict(network, LESSON.validation, LESSON.normalisation, run)
    right = (logits.argmax(dim=1) == LESSON.validation.labels).double().mean().item()
    assert curve[-1].val_accuracy == right


# The teacher.


def certain_of_class_0(images: Tensor) -> Tensor:
    return soften(torch.tensor([9.0, 0, 0, 0]).expand(len(images), 4), RECIPE.temperature)


def test_a_teacher_without_weight_teaches_nothing(undisturbed: ResNet, tmp_path: Path) -> None:
    recipe = replace(THREE_EPOCHS, distillation_weight=0.0)
    assert same_weights(train(tmp_path, recipe, teach=certain_of_class_0)[0], undisturbed)


def test_a_teacher_with_all_the_weight_makes_labels_irrelevant(tmp_path: Path) -> None:
    recipe = replace(RECIPE, distillation_weight=1.0)
    other = replace(LESSON, train=replace(LESSON.train, labels=LESSON.train.labels.flip(0)))
    one, _ = train(tmp_path / "one", recipe, teach=certain_of_class_0)
    two, _ = train(tmp_path / "two", recipe, teach=certain_of_class_0, lesson=other)
    assert same_weights(one, two)


def test_the_student_comes_to_answer_as_its_teacher_does(tmp_path: Path) -> None:
    recipe = replace(RECIPE, epochs=8, distillation_weight=0.9)
    network, _ = train(tmp_path, recipe, teach=certain_of_class_0)
    run = Run(CPU, ignore, go_on)
    logits = predict(network, LESSON.train, LESSON.normalisation, run)
    assert (logits.argmax(dim=1) == 0).double().mean() > 0.9


def test_teacher_and_student_see_the_same_view(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def teach(images: Tensor) -> Tensor:
        seen.append(images)
        return certain_of_class_0(images)

    train(tmp_path, replace(RECIPE, epochs=1), teach=teach)
    assert [tuple(images.shape) for images in seen] == [(16, 3, 32, 32)] * 2
    assert all(images.dtype == torch.uint8 for images in seen)
    known = {image.numpy().tobytes() for image in LESSON.train.images}
    assert not known & {image.numpy().tobytes() for image in seen[0]}, "views are augmented"


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
    assert sorted(path.stem for path in (tmp_path / "run").glob("*.json")) == ["epoch-00001"]


def test_a_last_step_that_breaks_the_weights_is_seen(tmp_path: Path) -> None:
    one_step = replace(RECIPE, epochs=1, batch_size=40, learning_rate=1e30, schedule="constant")
    with pytest.raises(TrainingDiverged, match=r"in epoch 1, loss \d"):
        train(tmp_path, one_step)
    assert not (tmp_path / "run").exists()


# The schedule.


def test_one_cycle_warms_up_over_a_fifth_and_ends_at_zero() -> None:
    recipe = replace(RECIPE, schedule="one_cycle", learning_rate=0.5)
    rates = [learning_rate_at(share, recipe) for share in (0, 0.1, 0.2, 0.6, 1)]
    assert rates == pytest.approx([0.02, 0.26, 0.5, 0.25, 0])


def test_a_constant_rate_stays() -> None:
    recipe = replace(RECIPE, schedule="constant", learning_rate=0.5)
    assert {learning_rate_at(share / 10, recipe) for share in range(11)} == {0.5}
