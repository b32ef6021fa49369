"""From a recipe to an ensemble in the store: what the command line and the workers both call."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from models.ensemble import EnsembleManifest, Normalisation
from models.errors import FieldProblem, InvalidRecipe
from models.store import Store
from training.checkpoints import Checkpoints
from training.datasets import Dataset, Pictures, load_dataset
from training.fit import Lesson, Run, Teach, fit, predict
from training.metrics import evaluate, fit_temperature, pool
from training.progress import (
    Check,
    DataRead,
    Evaluating,
    Part,
    Planned,
    PlannedPart,
    Report,
    operations,
)
from training.recipe import EnsembleTeacher, Recipe, TrainedTeacher, check_recipe, digest_of
from training.splits import split_validation
from training.teachers import TEACHER, ensemble_teacher, teacher_digest, trained_teacher

SPLIT_SEED = 0
"""One draw for all jobs, so that their validation accuracies compare and no teacher has seen the
pictures its students are validated on. A larger fraction holds out what a smaller one does."""

_log = logging.getLogger(__name__)


def distill(
    recipe: Recipe, data: Path, store: Store, name: str, *, report: Report, check: Check
) -> EnsembleManifest:
    """Train a teacher, then the members, and publish them as an ensemble.

    Everything finished before an interruption is found again under the same ``name``.

    Args:
        recipe: what to train.
        data: folder of data sets.
        store: where checkpoints go, teachers are kept and the ensemble is published.
        name: of this run's folder of checkpoints, which stay until ``forget_run``: whoever
            writes down that the run has ended does so first.
        report: is told what happens, batch by batch.
        check: called before each batch; raises ``Stopped`` when the work is to end.

    Returns:
        The manifest of the published ensemble.

    Raises:
        InvalidRecipe: the recipe cannot work with this data set or teacher.
        InvalidDataset: the data set is missing or malformed.
        TrainingDiverged: a network's loss or logits became infinite.
        StoreFull: no space left for a checkpoint or the ensemble.
        Stopped: from ``check``.
    """
    check_recipe(recipe)

    def read(done: int, total: int) -> None:
        check()
        report(DataRead(done, total))

    dataset = load_dataset(recipe.dataset, data, store.files, progress=read)
    train, validation = _split(dataset, recipe)
    lesson = Lesson(train, validation, normalisation_of(train), len(dataset.classes))
    run = Run(torch.device("cuda" if torch.cuda.is_available() else "cpu"), report, check)
    plan = _plan(recipe, dataset, len(train))
    _log.info("training %d networks on %s: %s", len(plan.parts), run.device, recipe.display_name())
    report(plan)

    teach: Teach | None = None
    teacher_name: str | None = None
    match recipe.teacher:
        case TrainedTeacher() as teacher:
            teacher_name = teacher_digest(recipe, teacher, dataset)
            teach = trained_teacher(recipe, teacher, dataset, lesson, store=store, run=run)
        case EnsembleTeacher() as teacher:
            teacher_name = teacher.ensemble
            teach = ensemble_teacher(recipe, teacher, dataset, store, run.device)

    weights: list[dict[str, Tensor]] = []
    splits = {"validation": validation, **({"test": dataset.test} if dataset.test else {})}
    logits: dict[str, list[Tensor]] = {split: [] for split in splits}
    # The same name may be tried again with another recipe or other pictures.
    folder = f"runs/{name}/{digest_of([recipe.to_dict(), dataset.digest])[:12]}"
    for index in range(recipe.members):
        checkpoints = Checkpoints(store.files, f"{folder}/member-{index:02d}")
        member = Part("member", index)
        network, _ = fit(recipe, member, lesson, teach, checkpoints=checkpoints, run=run)
        weights.append({key: tensor.cpu() for key, tensor in network.state_dict().items()})
        for split, pictures in splits.items():
            logits[split].append(predict(network, pictures, lesson.normalisation, run))

    report(Evaluating())
    check()  # the last moment: what is published stays
    predictions = {split: torch.stack(of).log_softmax(dim=-1) for split, of in logits.items()}
    temperature = fit_temperature(pool(predictions["validation"]), validation.labels)
    return store.publish(
        EnsembleManifest(
            id="",
            name=recipe.display_name(),
            network=recipe.student,
            classes=dataset.classes,
            size=train.images.shape[-1],
            normalisation=lesson.normalisation,
            members=(),
            temperature=temperature,
            recipe=recipe.to_dict(),
            dataset={"name": dataset.name, "digest": dataset.digest},
            teacher=teacher_name,
            metrics={
                split: evaluate(predictions[split], pictures.labels, temperature)
                for split, pictures in splits.items()
            },
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        weights,
        predictions,
    )


def forget_run(store: Store, name: str) -> None:
    """Delete the checkpoints of a run that has ended and will not be tried again."""
    store.files.delete(f"runs/{name}")


def normalisation_of(pictures: Pictures) -> Normalisation:
    """Return mean and standard deviation of each colour channel, to four decimals."""
    counts = torch.stack(
        [channel.flatten().bincount(minlength=256) for channel in pictures.images.unbind(dim=1)]
    ).double()  # [3, 256]: exact, and needs no float copy of all pixels
    value = torch.arange(256, dtype=torch.double) / 255
    share = counts / counts.sum(dim=1, keepdim=True)
    mean = (share * value).sum(dim=1)
    std = ((share * value**2).sum(dim=1) - mean**2).sqrt()
    red, green, blue = (round(x, 4) for x in mean.tolist())
    # A channel of one single value has no spread to divide by.
    red_std, green_std, blue_std = (max(round(x, 4), 1e-4) for x in std.tolist())
    return Normalisation((red, green, blue), (red_std, green_std, blue_std))


def _split(dataset: Dataset, recipe: Recipe) -> tuple[Pictures, Pictures]:
    if dataset.validation is not None:
        train, validation = dataset.train, dataset.validation
    else:
        train, validation = split_validation(dataset.train, recipe.validation_fraction, SPLIT_SEED)
    if recipe.batch_size > len(train):
        reason = f"{recipe.batch_size} is more than the {len(train)} pictures to train on"
        raise InvalidRecipe([FieldProblem("batch_size", reason)])
    return train, validation


def _plan(recipe: Recipe, dataset: Dataset, pictures: int) -> Planned:
    size = dataset.train.images.shape[-1]
    parts: list[PlannedPart] = []
    taught = 0.0  # operations of the teacher's forward pass for each picture a member sees
    if isinstance(recipe.teacher, TrainedTeacher):
        taught = operations(recipe.teacher.student, size)
        parts.append(
            PlannedPart(
                TEACHER, recipe.teacher.student, recipe.teacher.epochs, 3 * taught * pictures
            )
        )
    # A training step is a forward pass and a backward pass of about twice its operations.
    per_epoch = (3 * operations(recipe.student, size) + taught) * pictures
    parts += [
        PlannedPart(Part("member", index), recipe.student, recipe.epochs, per_epoch)
        for index in range(recipe.members)
    ]
    return Planned(tuple(parts))
