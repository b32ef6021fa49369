"""Recipes refused: every field that cannot work is named at once, with what would be right."""

import math
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from models.errors import FieldProblem, InvalidRecipe
from models.names import ID_PATTERN, is_network, network_names
from training.bounds import BOUNDS
from training.recipe import (
    AUGMENTATIONS,
    DISTILLATION_LOSSES,
    DISTILLATION_SCHEDULES,
    INITIALISATIONS,
    NAME_PATTERN,
    OPTIMISERS,
    PRECISIONS,
    PRESETS,
    PROMOTES,
    SCHEDULES,
    EnsembleTeacher,
    Recipe,
    Teacher,
    TrainedTeacher,
)


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that cannot work whatever the data set holds.

    Raises:
        InvalidRecipe: with every bad field and what would be right.
    """
    if problems := [*_bad_numbers(recipe), *_bad_choices(recipe), *_contradictions(recipe)]:
        raise InvalidRecipe(problems)


def _bad_numbers(recipe: Recipe) -> Iterator[FieldProblem]:
    numbers = [(name, getattr(recipe, name)) for name in BOUNDS if "." not in name]
    for place, teacher in _trained(recipe):
        numbers += [(f"{place}.epochs", teacher.epochs), (f"{place}.seed", teacher.seed)]
    for field, value in numbers:
        bounds = BOUNDS[re.sub(r"\.\d+", "", field)]
        if not (math.isfinite(value) and bounds.low <= value <= bounds.high):
            yield FieldProblem(field, f"{value} is not between {bounds.low} and {bounds.high}")


def _bad_choices(recipe: Recipe) -> Iterator[FieldProblem]:
    for field, value, allowed in (
        ("preset", recipe.preset, tuple(PRESETS)),
        ("augmentation", recipe.augmentation, AUGMENTATIONS),
        ("precision", recipe.precision, PRECISIONS),
        ("schedule", recipe.schedule, SCHEDULES),
        ("distillation_schedule", recipe.distillation_schedule, DISTILLATION_SCHEDULES),
        ("optimiser", recipe.optimiser, OPTIMISERS),
        ("initialisation", recipe.initialisation, INITIALISATIONS),
        ("distillation_loss", recipe.distillation_loss, DISTILLATION_LOSSES),
        ("promote", recipe.promote, PROMOTES),
    ):
        if value not in allowed:
            yield FieldProblem(field, f"{value!r} is none of {', '.join(allowed)}")
    taught_by = [(f"{place}.student", teacher.student) for place, teacher in _trained(recipe)]
    for field, network in [("student", recipe.student), *taught_by]:
        if not is_network(network):
            yield FieldProblem(field, f"{network!r} is none of {', '.join(network_names())}")
    if recipe.initial_ensemble and not re.fullmatch(ID_PATTERN, recipe.initial_ensemble):
        yield FieldProblem("initial_ensemble", f"{recipe.initial_ensemble!r} is no ensemble's id")
    for field, name in (("name", recipe.name or "unnamed"), ("dataset", recipe.dataset)):
        if not re.fullmatch(NAME_PATTERN, name):
            reason = "letters, digits, '.', '_' and '-', starting with a letter or digit"
            yield FieldProblem(field, reason)


def _contradictions(recipe: Recipe) -> Iterator[FieldProblem]:
    if recipe.nesterov and recipe.momentum == 0:
        yield FieldProblem("momentum", "nesterov needs a momentum above 0")
    if recipe.schedule == "one_cycle" and recipe.learning_rate < 1e-5:
        reason = "one_cycle warms up from a 25th of the peak: at least 0.00001"
        yield FieldProblem("learning_rate", reason)
    if len(recipe.teacher) > max(1, recipe.members):
        reason = f"{len(recipe.teacher)} teachers for {recipe.members} members"
        yield FieldProblem("teacher", reason)
    if len(set(recipe.teacher)) < len(recipe.teacher):
        yield FieldProblem("teacher", "the same one twice; give each a seed of its own")
    weight, spread = recipe.distillation_weight, recipe.distillation_weight_spread
    # One that is out of bounds by itself is told by those.
    if 0 <= weight <= 1 and 0 <= spread <= 0.5 and not spread <= weight <= 1 - spread:
        yield FieldProblem("distillation_weight_spread", "leads to weights outside 0 to 1")
    if recipe.is_coupled and recipe.members == 1:
        yield FieldProblem("pooled_weight", "one member has no others to learn with")
    if recipe.is_coupled and recipe.distillation_loss == "standardised_kl" and recipe.teacher:
        reason = "standardised_kl leaves members a scale of their own, so they cannot be averaged"
        yield FieldProblem("pooled_weight", reason)


def _trained(recipe: Recipe) -> Iterator[tuple[str, TrainedTeacher]]:
    """Yield each teacher to train, and how messages name it: ``teacher.1`` where there are more."""
    for index, teacher in enumerate(recipe.teacher):
        if isinstance(teacher, TrainedTeacher):
            yield "teacher" if len(recipe.teacher) == 1 else f"teacher.{index}", teacher


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
    teachers = values.get("teacher", Recipe().to_dict()["teacher"])
    if not isinstance(teachers, list):
        teachers = [] if teachers is None else [teachers]
    values["teacher"] = tuple(_teacher_from_dict(teacher) for teacher in teachers)
    recipe = Recipe(**values)
    check_recipe(recipe)
    return recipe


def _teacher_from_dict(data: Any) -> Teacher:
    match data:
        case {"ensemble": str(ensemble)}:
            return EnsembleTeacher(ensemble)
        case {"student": str(student), "epochs": int(epochs), "seed": int(seed)}:
            return TrainedTeacher(student, epochs, seed)
    reason = f"{data!r} is neither a student with its epochs and seed, an ensemble, nor null"
    raise InvalidRecipe([FieldProblem("teacher", reason)])
