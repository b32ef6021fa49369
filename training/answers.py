"""What teachers answer to kept views: computed once, in the store, shared by all members and jobs.

Shape legend: v kept views, p pictures to train on, k classes.
"""

import logging
from dataclasses import asdict

import torch
from torch import Tensor

from models.artefacts import FileRecord, read_json, read_tensors, write_json, write_tensors
from models.errors import CorruptArtefact
from models.store import Store
from training.augmentation import show
from training.datasets import Dataset
from training.fit import Lesson, Run
from training.progress import BatchDone, Part, PartDone, Resumed
from training.recipe import Recipe, digest_of
from training.teachers import FORMAT
from training.views import Teach, draw_kept_views

_log = logging.getLogger(__name__)

_BATCH = 128
"""Pictures a teacher answers at once: as many as it was trained on, so that it fits as it did."""


def answers_folder(recipe: Recipe, teacher: str, dataset: Dataset, is_ensemble: bool) -> str:
    """Return where a teacher's answers to kept views are, under the digest of what decides them."""
    decides = {
        "format": FORMAT,
        "teacher": teacher,
        "temperature": recipe.temperature if is_ensemble else None,
        "augmentation": recipe.augmentation,
        "precision": recipe.precision,
        "dataset": dataset.digest,
        "validation_fraction": recipe.validation_fraction,
    }
    return f"answers/{digest_of(decides)}"


def keep_answers(
    recipe: Recipe,
    teach: Teach,
    part: Part,
    lesson: Lesson,
    *,
    folder: str,
    store: Store,
    run: Run,
) -> None:
    """Let a teacher answer every kept view of every picture once; those that are there stay.

    Raises:
        Stopped: from ``check``; views that are finished stay.
        StoreFull: no space left.
    """
    images = lesson.train.images
    count = recipe.kept_views
    kept_views = draw_kept_views(count, lesson.train, recipe.augmentation)
    found = 0
    while found < count and _answers(store, folder, found) is not None:
        found += 1
    run.report(Resumed(part, ()))
    for view in range(found, count):
        answers = []
        for start in range(0, len(images), _BATCH):
            run.check()
            rows = slice(start, start + _BATCH)
            logits = teach(show(images[rows], kept_views[view, rows]))
            answers.append(logits.to(torch.float16).cpu())
            run.report(BatchDone(part, view + 1, min(1.0, (start + _BATCH) / len(images))))
        tensors = {"logits": torch.cat(answers)}
        record = write_tensors(store.files, folder, f"{_view(view)}.safetensors", tensors)
        write_json(store.files, f"{folder}/{_view(view)}.json", asdict(record))
    run.report(PartDone(part))


def has_answers(recipe: Recipe, folder: str, store: Store) -> bool:
    """Say whether all kept views are answered."""
    names = {f"{_view(view)}.json" for view in range(recipe.kept_views)}
    return names <= set(store.files.list(folder))


def read_answers(recipe: Recipe, folder: str, store: Store) -> Tensor | None:
    """Return a teacher's answers, float16 [v, p, k]; none if some are missing or damaged."""
    views = []
    for view in range(recipe.kept_views):
        answers = _answers(store, folder, view)
        if answers is None:
            return None
        views.append(answers)
    return torch.stack(views)


def answers_bytes(recipe: Recipe, pictures: int, classes: int) -> int:
    """Return the memory that the kept answers of all teachers take."""
    return 2 * recipe.kept_views * len(recipe.teacher) * pictures * classes


def _answers(store: Store, folder: str, view: int) -> Tensor | None:
    name = f"{folder}/{_view(view)}.json"
    try:
        record = FileRecord(**read_json(store.files, name))
        return read_tensors(store.files, folder, record)["logits"]
    except FileNotFoundError:
        return None
    except (CorruptArtefact, TypeError, KeyError) as error:
        _log.warning("a damaged view is answered again: %s", error)
        store.files.delete(name)
        return None


def _view(index: int) -> str:
    return f"view-{index:03d}"
