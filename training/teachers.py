"""Who teaches the members: a network trained for it, or a finished ensemble."""

import logging
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from models.artefacts import FileRecord, read_json, read_network, write_json, write_tensors
from models.errors import CorruptArtefact, EnsembleNotFound, FieldProblem, InvalidRecipe
from models.resnet import ResNet
from models.store import Store
from training.checkpoints import Checkpoints, epoch_to_dict
from training.datasets import Dataset
from training.fit import Lesson, Run, Teach, fit
from training.losses import soften
from training.progress import EpochDone, Part, PartDone, Resumed
from training.recipe import (
    EnsembleTeacher,
    Recipe,
    TrainedTeacher,
    digest_of,
    teacher_recipe,
)

_log = logging.getLogger(__name__)

TEACHER = Part("teacher")
_FORMAT = 1  # raise it when the same recipe no longer produces the same teacher


def teacher_digest(recipe: Recipe, teacher: TrainedTeacher, dataset: Dataset) -> str:
    """Return the digest of all that decides a teacher's weights."""
    how: dict[str, Any] = teacher_recipe(recipe, teacher).to_dict()
    del how["dataset"]  # the pictures count, not the name of their folder
    return digest_of({"format": _FORMAT, "recipe": how, "dataset": dataset.digest})


def trained_teacher(
    recipe: Recipe,
    teacher: TrainedTeacher,
    dataset: Dataset,
    lesson: Lesson,
    *,
    store: Store,
    run: Run,
) -> Teach:
    """Find a teacher in the store under the digest of what produces it, or train and keep it.

    One that is damaged is logged and trained again.

    Raises:
        TrainingDiverged: see ``fit``.
        Stopped: from ``check``.
    """
    folder = f"teachers/{teacher_digest(recipe, teacher, dataset)}"
    try:
        network, curve = _find(store, folder)
        run.report(Resumed(TEACHER, curve))
        run.report(PartDone(TEACHER))
    except FileNotFoundError:
        network = _train_and_keep(recipe, teacher, lesson, folder, store=store, run=run)
    except CorruptArtefact as error:
        _log.warning("training a damaged teacher again: %s", error)
        store.files.delete(folder)
        network = _train_and_keep(recipe, teacher, lesson, folder, store=store, run=run)
    network.to(run.device).to(memory_format=torch.channels_last)

    @torch.no_grad()  # not inference_mode, whose tensors autograd refuses to keep
    def teach(images: Tensor) -> Tensor:
        enabled = recipe.precision == "bf16"
        with torch.autocast(run.device.type, torch.bfloat16, enabled=enabled):
            logits = network(lesson.normalisation(images))
        return soften(logits, recipe.temperature)

    return teach


def _find(store: Store, folder: str) -> tuple[ResNet, tuple[EpochDone, ...]]:
    """Return a kept teacher and its curve; FileNotFoundError if there is none."""
    name = f"{folder}/manifest.json"
    manifest = read_json(store.files, name)
    try:
        network, classes = str(manifest["network"]), int(manifest["classes"])
        weights = FileRecord(**manifest["weights"])
        curve = tuple(EpochDone(part=TEACHER, **epoch) for epoch in manifest["curve"])
    except (KeyError, TypeError, ValueError) as error:
        reason = f"a field is missing or malformed: {error}"
        raise CorruptArtefact(f"{store.files.path(name)}: {reason}") from error
    return read_network(store.files, folder, weights, network, classes), curve


def _train_and_keep(
    recipe: Recipe, teacher: TrainedTeacher, lesson: Lesson, folder: str, *, store: Store, run: Run
) -> ResNet:
    how = teacher_recipe(recipe, teacher)
    checkpoints = Checkpoints(store.files, f"{folder}/checkpoints")
    network, curve = fit(how, TEACHER, lesson, None, checkpoints=checkpoints, run=run)
    record = write_tensors(store.files, folder, "teacher.safetensors", network.state_dict())
    manifest = {
        "network": teacher.student,
        "classes": lesson.classes,
        "weights": asdict(record),
        "recipe": how.to_dict(),
        "curve": [epoch_to_dict(epoch) for epoch in curve],
    }
    write_json(store.files, f"{folder}/manifest.json", manifest)
    store.files.delete(f"{folder}/checkpoints")
    return network


def ensemble_teacher(
    recipe: Recipe, teacher: EnsembleTeacher, dataset: Dataset, store: Store, device: torch.device
) -> Teach:
    """Load a finished ensemble as teacher: the average of its members' softened softmax.

    Raises:
        InvalidRecipe: the ensemble does not exist, knows other classes, or was trained on
            pictures that this recipe validates on.
        CorruptArtefact: a file of it is damaged.
    """
    field = "teacher.ensemble"
    try:
        ensemble = store.load(teacher.ensemble).to(device)
    except EnsembleNotFound as error:
        raise InvalidRecipe([FieldProblem(field, str(error))]) from error
    manifest = ensemble.manifest
    if manifest.classes != dataset.classes:
        reason = f"{manifest.id} knows other classes than the data set {dataset.name}"
        raise InvalidRecipe([FieldProblem(field, reason)])
    held_out = float(manifest.recipe["validation_fraction"])
    if dataset.validation is None and held_out < recipe.validation_fraction:
        reason = f"{manifest.id} held out only {held_out}, so it was trained on pictures that this"
        reason += " recipe validates on; give at most that much"
        raise InvalidRecipe([FieldProblem("validation_fraction", reason)])

    @torch.no_grad()  # not inference_mode, whose tensors autograd refuses to keep
    def teach(images: Tensor) -> Tensor:
        pictures = manifest.normalisation(images)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits = torch.stack([member(pictures) for member in ensemble.members])
        return soften(logits, recipe.temperature).mean(dim=0)

    return teach
