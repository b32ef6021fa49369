"""The recipe: everything that decides what comes out of a job, and nothing else."""

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, NamedTuple

from models.errors import FieldProblem, InvalidRecipe
from models.resnet import is_network, network_names
from training.augmentation import AUGMENTATIONS

Precision = Literal["fp32", "bf16"]
Schedule = Literal["constant", "one_cycle"]
Promote = Literal["always", "if_better", "never"]
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
SCHEDULES: tuple[Schedule, ...] = ("constant", "one_cycle")
PROMOTES: tuple[Promote, ...] = ("always", "if_better", "never")

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What data sets and ensembles may be called: safe as one part of a path and of a URL."""


@dataclass(frozen=True)
class TrainedTeacher:
    """A teacher that is trained for the job, or found in the store if it was trained before.

    Attributes:
        student: name of the network. The field has this name because a teacher is itself trained
            like a student, only without a teacher of its own.
        epochs: passes over the train split.
    """

    student: str = "resnet18"
    epochs: int = 60


@dataclass(frozen=True)
class EnsembleTeacher:
    """A finished ensemble of the store, whose averaged softmax teaches.

    Attributes:
        ensemble: its id.
    """

    ensemble: str


Teacher = TrainedTeacher | EnsembleTeacher | None


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how. The values here are those of the preset ``default``.

    Attributes:
        preset: the preset the other fields started from.
        name: what the ensemble is called; empty for ``<student>-<members>-members``.
        dataset: ``cifar100`` or the name of a folder of pictures.
        student: network of the members.
        members: number of students.
        teacher: who teaches them; none means a plain deep ensemble.
        epochs: passes of each member over the train split.
        batch_size: pictures per step.
        learning_rate: SGD's; under ``one_cycle`` the peak.
        momentum: SGD's.
        nesterov: whether the momentum looks ahead (Sutskever et al. 2013).
        weight_decay: SGD's, on every parameter.
        schedule: ``constant``, or ``one_cycle``: linear warm-up over the first fifth of all steps
            and cosine down to zero (Smith & Topin 2018).
        temperature: T of the softened softmax (Hinton et al. 2015).
        distillation_weight: λ; the loss is (1-λ)·cross-entropy + λ·T²·KL.
        label_smoothing: share of the label spread over all classes (Szegedy et al. 2016).
        augmentation: one of ``training.augmentation.AUGMENTATIONS``.
        precision: ``bf16`` runs convolutions in bfloat16 and keeps weights in fp32.
        validation_fraction: share of train held out where the data set has no validation.
        seed: decides initial weights, order and augmentation; never which pictures validate.
        promote: whether the finished ensemble is to serve.
    """

    preset: str = "default"
    name: str = ""
    dataset: str = "cifar100"
    student: str = "resnet14"
    members: int = 10
    teacher: Teacher = TrainedTeacher()
    epochs: int = 50
    batch_size: int = 128
    learning_rate: float = 0.2
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Schedule = "one_cycle"
    temperature: float = 4.0
    distillation_weight: float = 0.5
    label_smoothing: float = 0.0
    augmentation: str = "crop_flip"
    precision: Precision = "bf16"
    validation_fraction: float = 0.1
    seed: int = 0
    promote: Promote = "if_better"

    def display_name(self) -> str:
        """Return the name the ensemble gets."""
        return self.name or f"{self.student}-{self.members}-members"

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON-ready data; ``recipe_from_dict`` is its inverse."""
        return asdict(self)


PRESETS: dict[str, Recipe] = {
    # The seed work (stateun/MLDL2, Knowledge_Distillation) field by field: no augmentation, a
    # learning-rate step that never fires, a 40,000/10,000 split and a CIFAR ResNet-50 as teacher.
    # Its teacher was fitted on all 50,000 pictures, ours never sees the validation ones.
    "seed": Recipe(
        preset="seed",
        teacher=TrainedTeacher("resnet50", epochs=60),
        learning_rate=0.1,
        nesterov=False,
        weight_decay=1e-4,
        schedule="constant",
        label_smoothing=0.1,
        augmentation="none",
        precision="fp32",
        validation_fraction=0.2,
    ),
    "default": Recipe(),
    "strong": Recipe(preset="strong", epochs=200, teacher=TrainedTeacher("resnet50", epochs=200)),
}


class Bounds(NamedTuple):
    """The values a number may take, both ends included, and one line that explains it."""

    low: float
    high: float
    meaning: str


BOUNDS: dict[str, Bounds] = {
    "members": Bounds(1, 100, "number of students in the ensemble"),
    "epochs": Bounds(1, 10_000, "passes of each member over the train split"),
    "teacher.epochs": Bounds(1, 10_000, "passes of the teacher over the train split"),
    "batch_size": Bounds(2, 65_536, "pictures per step; BatchNorm needs at least two"),
    "learning_rate": Bounds(1e-6, 10.0, "step size of SGD; under one_cycle its peak"),
    "momentum": Bounds(0.0, 0.9999, "momentum of SGD"),
    "weight_decay": Bounds(0.0, 1.0, "L2 penalty of SGD"),
    "temperature": Bounds(0.1, 100.0, "T of the softened softmax"),
    "distillation_weight": Bounds(0.0, 1.0, "weight of the teacher's loss against the labels'"),
    "label_smoothing": Bounds(0.0, 0.99, "share of the label spread over all classes"),
    "validation_fraction": Bounds(0.001, 0.5, "share of train held out for validation"),
    "seed": Bounds(0, 2**53 - 1, "decides initial weights, order and augmentation"),
}


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that cannot work whatever the data set holds.

    Raises:
        InvalidRecipe: with every bad field and what would be right.
    """
    problems: list[FieldProblem] = []

    def refuse(field: str, reason: str) -> None:
        problems.append(FieldProblem(field, reason))

    for field, bounds in BOUNDS.items():
        owner, _, attribute = field.rpartition(".")
        value = getattr(recipe.teacher if owner else recipe, attribute, None)
        if value is not None and not (math.isfinite(value) and bounds.low <= value <= bounds.high):
            refuse(field, f"{value} is not between {bounds.low} and {bounds.high}")
    for field, value, allowed in (
        ("preset", recipe.preset, tuple(PRESETS)),
        ("augmentation", recipe.augmentation, AUGMENTATIONS),
        ("precision", recipe.precision, PRECISIONS),
        ("schedule", recipe.schedule, SCHEDULES),
        ("promote", recipe.promote, PROMOTES),
    ):
        if value not in allowed:
            refuse(field, f"{value!r} is none of {', '.join(allowed)}")
    if not is_network(recipe.student):
        refuse("student", f"{recipe.student!r} is none of {', '.join(network_names())}")
    if isinstance(recipe.teacher, TrainedTeacher) and not is_network(recipe.teacher.student):
        reason = f"{recipe.teacher.student!r} is none of {', '.join(network_names())}"
        refuse("teacher.student", reason)
    if recipe.name and not re.fullmatch(NAME_PATTERN, recipe.name):
        refuse("name", "letters, digits, '.', '_' and '-', starting with a letter or digit")
    if not re.fullmatch(NAME_PATTERN, recipe.dataset):
        refuse("dataset", "letters, digits, '.', '_' and '-', starting with a letter or digit")
    if recipe.nesterov and recipe.momentum == 0:
        refuse("momentum", "nesterov needs a momentum above 0")
    if recipe.schedule == "one_cycle" and recipe.learning_rate < 1e-5:
        refuse("learning_rate", "one_cycle warms up from a 25th of the peak: at least 0.00001")
    if problems:
        raise InvalidRecipe(problems)


def recipe_from_dict(data: dict[str, Any]) -> Recipe:
    """Build a recipe from what ``Recipe.to_dict`` returned.

    Raises:
        InvalidRecipe: a field is unknown, or the recipe cannot work.
    """
    known = {field.name for field in fields(Recipe)}
    unknown = [FieldProblem(name, "unknown field") for name in data if name not in known]
    if unknown:
        raise InvalidRecipe(unknown)
    values = dict(data)
    match values.get("teacher"):
        case {"ensemble": str(ensemble)}:
            values["teacher"] = EnsembleTeacher(ensemble)
        case {"student": str(student), "epochs": int(epochs)}:
            values["teacher"] = TrainedTeacher(student, epochs)
        case None:
            pass
        case other:
            reason = f"{other!r} is neither a student with its epochs, an ensemble, nor null"
            raise InvalidRecipe([FieldProblem("teacher", reason)])
    recipe = Recipe(**values)
    check_recipe(recipe)
    return recipe


def teacher_recipe(recipe: Recipe, teacher: TrainedTeacher) -> Recipe:
    """Return how a teacher is trained: as the members are, alone, and taught by nobody.

    Fields that do not touch the teacher's weights are set back, so that two jobs that differ only
    in those share one teacher.
    """
    return replace(
        recipe,
        preset="default",
        name="",
        student=teacher.student,
        epochs=teacher.epochs,
        members=1,
        teacher=None,
        temperature=1.0,
        distillation_weight=0.0,
        promote="never",
    )


def digest_of(data: Any) -> str:
    """Return the sha256 of JSON-ready data, the same whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
