"""Who teaches the members: a network trained for it, or a finished ensemble."""

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from models.artefacts import FileRecord, read_json, read_network, write_json, write_tensors
from models.errors import EnsembleNotFound, FieldProblem, InvalidRecipe
from models.store import Store
from training.checkpoints import Checkpoints
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

    Raises:
        TrainingDiverged: see ``fit``.
        Stopped: from ``check``.
        CorruptArtefact: a kept teacher is not what its manifest says.
    """
    folder = f"teachers/{teacher_digest(recipe, teacher, dataset)}"
    if store.files.exists(f"{folder}/manifest.json"):
        manifest = read_json(store.files, f"{folder}/manifest.json")
        curve = tuple(EpochDone(part=TEACHER, **epoch) for epoch in manifest["curve"])
        run.report(Resumed(TEACHER, curve))
        run.report(PartDone(TEACHER))
    else:
        how = teacher_recipe(recipe, teacher)
        checkpoints = Checkpoints(store.files, f"{folder}/checkpoints")
        network, curve = fit(how, TEACHER, lesson, None, checkpoints=checkpoints, run=run)
        record = write_tensors(store.files, folder, "teacher.safetensors", network.state_dict())
        manifest = {
            "network": teacher.student,
            "classes": list(dataset.classes),
            "weights": asdict(record),
            "recipe": how.to_dict(),
            "curve": [
                {key: value for key, value in asdict(epoch).items() if key != "part"}
                for epoch in curve
            ],
        }
        write_json(store.files, f"{folder}/manifest.json", manifest)
        store.files.delete(f"{folder}/checkpoints")
    weights = FileRecord(**manifest["weights"])
    network = read_network(store.files, folder, weights, teacher.student, lesson.classes)
    network.to(run.device).to(memory_format=torch.channels_last)

    @torch.no_grad()  # not inference_mode, whose tensors autograd refuses to keep
    def teach(images: Tensor) -> Tensor:
        enabled = recipe.precision == "bf16"
        with torch.autocast(run.device.type, torch.bfloat16, enabled=enabled):
            logits = network(lesson.normalisation(images))
        return soften(logits, recipe.temperature)

    return teach


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
