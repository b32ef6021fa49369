"""Who teaches the members: networks trained for it, and finished ensembles."""

import logging
import math
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from models.artefacts import FileRecord, read_json, read_network, write_json, write_tensors
from models.errors import CorruptArtefact
from models.resnet import ResNet
from models.store import Store
from training.checkpoints import Checkpoint, Checkpoints, epoch_to_dict
from training.datasets import Dataset
from training.feasible import named_ensemble
from training.fencing import take_fence
from training.fit import Lesson, Run, fit
from training.progress import EpochDone, Part, PartKept
from training.recipe import (
    EnsembleTeacher,
    Recipe,
    TrainedTeacher,
    digest_of,
    teacher_recipe,
)
from training.views import FreshViews, Teach

_log = logging.getLogger(__name__)

FORMAT = 3
"""Raise it when the same recipe no longer produces the same teacher, or answers."""


def teacher_digest(recipe: Recipe, teacher: TrainedTeacher, dataset: Dataset) -> str:
    """Return the digest of all that decides a teacher's weights."""
    return teacher_digest_of(recipe, teacher, dataset.digest)


def teacher_digest_of(recipe: Recipe, teacher: TrainedTeacher, pictures: str) -> str:
    """Return what ``teacher_digest`` does, where only the data set's digest is known."""
    how: dict[str, Any] = teacher_recipe(recipe, teacher).to_dict()
    del how["dataset"]  # the pictures count, not the name of their folder
    return digest_of({"format": FORMAT, "recipe": how, "dataset": pictures})


def find_teacher(
    store: Store, digest: str, part: Part
) -> tuple[ResNet, tuple[EpochDone, ...]] | None:
    """Return a kept teacher and its curve; none if it has not been trained, or is damaged.

    A damaged one is logged and deleted, so that it is trained again.
    """
    folder = f"teachers/{digest}"
    name = f"{folder}/manifest.json"
    try:
        manifest = read_json(store.files, name)
        try:
            network, classes = str(manifest["network"]), int(manifest["classes"])
            weights = FileRecord(**manifest["weights"])
            curve = tuple(EpochDone(part=part, **epoch) for epoch in manifest["curve"])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"a field is missing or malformed: {error}"
            raise CorruptArtefact(f"{store.files.path(name)}: {reason}") from error
        return read_network(store.files, folder, weights, network, classes), curve
    except FileNotFoundError:
        return None
    except CorruptArtefact as error:
        _log.warning("training a damaged teacher again: %s", error)
        store.files.delete(folder)
        return None


def train_teacher(
    recipe: Recipe,
    teacher: TrainedTeacher,
    part: Part,
    lesson: Lesson,
    digest: str,
    *,
    store: Store,
    run: Run,
) -> None:
    """Train a teacher and keep it in the store under the digest of what produces it.

    Raises:
        TrainingDiverged: see ``fit``.
        Stopped: from ``check``, or another process has taken the teacher over.
    """
    how = teacher_recipe(recipe, teacher)
    folder = f"teachers/{digest}"
    fence = take_fence(store.files, folder)
    checkpoints = Checkpoints(store.files, f"{folder}/checkpoints", fence)
    views = FreshViews(lesson.train, how.augmentation, None)
    fit(how, [part], lesson, [views], checkpoints=[checkpoints], run=run)
    last = final_checkpoint(checkpoints, part)
    fence.check()
    file = f"teacher.{fence.name}.safetensors"
    record = write_tensors(store.files, folder, file, last.weights)
    manifest = {
        "network": teacher.student,
        "classes": lesson.classes,
        "weights": asdict(record),
        "recipe": how.to_dict(),
        "curve": [epoch_to_dict(epoch) for epoch in last.curve],
    }
    fence.check()
    write_json(store.files, f"{folder}/manifest.json", manifest)
    store.files.delete(f"{folder}/checkpoints")
    run.report(PartKept(part))


def final_checkpoint(checkpoints: Checkpoints, part: Part) -> Checkpoint:
    """Return the checkpoint that a finished training has just left.

    Raises:
        CorruptArtefact: it cannot be read back.
    """
    last = checkpoints.latest(part)
    if last is None:
        raise CorruptArtefact(f"the last checkpoint of {part} cannot be read back")
    return last


def network_teacher(network: ResNet, recipe: Recipe, lesson: Lesson, device: torch.device) -> Teach:
    """Return a network as teacher."""
    network.to(device).to(memory_format=torch.channels_last)

    @torch.no_grad()  # not inference_mode, whose tensors autograd refuses to keep
    def teach(images: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits: Tensor = network(lesson.normalisation(images))
        return logits.float()

    return teach


def ensemble_teacher(
    recipe: Recipe, teacher: EnsembleTeacher, dataset: Dataset, store: Store, device: torch.device
) -> Teach:
    """Load a finished ensemble as teacher.

    Its logits are T·log of the average of its members' softmax at the recipe's temperature T, so
    that softening them by T gives that average.

    Raises:
        InvalidRecipe: the ensemble does not exist, knows other classes, or was trained on
            pictures that this recipe validates on.
        CorruptArtefact: a file of it is damaged.
    """
    manifest = named_ensemble(recipe, "teacher.ensemble", teacher.ensemble, dataset, store)
    ensemble = store.load(manifest.id).to(device)

    @torch.no_grad()  # not inference_mode, whose tensors autograd refuses to keep
    def teach(images: Tensor) -> Tensor:
        pictures = manifest.normalisation(images)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits = torch.stack([member(pictures) for member in ensemble.members])
        # In logs: at low temperatures the softmax itself would underflow, and its log be infinite.
        softened = torch.log_softmax(logits.float() / recipe.temperature, dim=-1)
        return recipe.temperature * (softened.logsumexp(dim=0) - math.log(len(logits)))

    return teach
