"""A tiny lesson, and training on it without a store: for the tests of the training loop."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from models.ensemble import Normalisation
from models.errors import JobCancelled
from models.files import Files
from models.resnet import ResNet, build_network
from tests.tiny import RECIPE, go_on, ignore, noise
from training.checkpoints import Checkpoint, Checkpoints
from training.datasets import Pictures
from training.fit import Lesson, Run, fit
from training.progress import Check, Part, Report
from training.recipe import Recipe
from training.views import FreshViews, Teach, Views

CPU = torch.device("cpu")
MEMBER = Part("member", 0)
MEMBERS = [Part("member", index) for index in range(3)]
LESSON = Lesson(
    train=Pictures(noise(40)[..., :16, :16], torch.arange(40) % 4),
    validation=Pictures(noise(12, seed=1)[..., :16, :16], torch.arange(12) % 4),
    normalisation=Normalisation((0.5, 0.5, 0.5), (0.3, 0.3, 0.3)),
    classes=4,
)
THREE_EPOCHS = replace(RECIPE, epochs=3)
"""Of two steps: 8 of the 40 pictures wait each time."""

QUIET = Run(CPU, ignore, go_on)


def train_together(
    folder: Path,
    recipe: Recipe,
    parts: Sequence[Part],
    *,
    lesson: Lesson = LESSON,
    teach: Teach | None = None,
    views: Sequence[Views] | None = None,
    run: Run = QUIET,
    initial: Sequence[Mapping[str, Tensor]] = (),
) -> list[Checkpoint]:
    """Train networks side by side and return the last checkpoint of each."""
    checkpoints = [Checkpoints(Files(folder), str(part)) for part in parts]
    seen = views or [FreshViews(lesson.train, recipe.augmentation, teach)] * len(parts)
    fit(recipe, parts, lesson, seen, checkpoints=checkpoints, run=run, initial=initial)
    last = [of.latest(part) for of, part in zip(checkpoints, parts, strict=True)]
    return [checkpoint for checkpoint in last if checkpoint]


def train(
    folder: Path,
    recipe: Recipe = THREE_EPOCHS,
    part: Part = MEMBER,
    *,
    lesson: Lesson = LESSON,
    teach: Teach | None = None,
    report: Report = ignore,
    check: Check = go_on,
) -> Checkpoint:
    """Train one network and return its last checkpoint."""
    run = Run(CPU, report, check)
    return train_together(folder, recipe, [part], lesson=lesson, teach=teach, run=run)[0]


def stopping_after(checks: int) -> Check:
    """Return a check that ends the work when it is called once more than that."""
    left = iter(range(checks))

    def check() -> None:
        if next(left, None) is None:
            raise JobCancelled

    return check


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Say whether two networks have the same weights, statistics and momentum, bit for bit."""
    return all(
        ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
        for ours, theirs in ((one.weights, other.weights), (one.momentum, other.momentum))
    )


def furthest(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Return the largest difference of any two numbers in tensors of the same names."""
    assert one.keys() == other.keys()
    return max((one[key].double() - other[key].double()).abs().max().item() for key in one)


def network_of(checkpoint: Checkpoint, recipe: Recipe = RECIPE) -> ResNet:
    """Return the network that a checkpoint is of."""
    network = build_network(recipe.student, LESSON.classes)
    network.load_state_dict(dict(checkpoint.weights))
    return network.eval()
