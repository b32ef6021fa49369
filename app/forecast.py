"""What a job would take, from the jobs that have ended."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from app.jobs import Jobs
from app.schemas import Job, JobPlan, PictureCounts
from models.errors import CorruptArtefact, EnsembleNotFound, InvalidDataset, InvalidRecipe
from models.store import Store
from training.datasets import SIZE
from training.effort import planned_parts
from training.footprint import training_device
from training.forecast import Pace, estimate, forecast_memory, paces_of
from training.progress import Part
from training.recipe import Recipe, TrainedTeacher
from training.recipe_check import recipe_from_dict
from training.survey import Survey, split_sizes, survey
from training.teachers import teacher_digest_of

MOST_JOBS = 100
"""Ended jobs that are looked at, the newest first; what was long ago tells less."""


def forecast(
    recipe: Recipe, jobs: Jobs, store: Store, data: Path, limit_bytes: int | None
) -> JobPlan:
    """Say what a job of a recipe would take; nothing is kept.

    Args:
        recipe: that fits its data.
        jobs: all jobs, of which those that have ended tell how fast networks are trained.
        store: where teachers and ensembles are.
        data: folder of data sets.
        limit_bytes: memory that training may use; none for all there is.

    Raises:
        NotEnoughMemory: not even one network fits on this machine.
    """
    told = recipe.to_dict()
    found = _look(recipe.dataset, data)
    if found is None:
        return JobPlan(recipe=told)
    device = training_device()
    plan = forecast_memory(recipe, found, device, limit_bytes)
    train, validation = split_sizes(found, recipe.validation_fraction)
    ended = _ended(jobs, data, device.type)
    known = estimate(
        recipe,
        planned_parts(recipe, train, SIZE, store),
        plan.together,
        [pace for each in ended for pace in _paces(each, store)],
        _trained_before(recipe, ended, store),
    )
    return JobPlan(
        recipe=told,
        plan=plan.to_dict(),
        pictures=PictureCounts(train=train, validation=validation),
        estimate_seconds=known and round(known.seconds, 1),
        estimate_from=known and known.source,
    )


def _look(name: str, data: Path) -> Survey | None:
    """Return what a data set holds; none where this machine does not see it."""
    try:
        return survey(name, data)
    except InvalidDataset:
        return None


@dataclass(frozen=True)
class _Ended:
    job: Job
    recipe: Recipe
    pictures: int  # that it trained on


def _ended(jobs: Jobs, data: Path, device: str) -> list[_Ended]:
    """Return the newest jobs that tell how fast this kind of device trains."""
    seen: dict[str, Survey | None] = {}
    ended: list[_Ended] = []
    for job in islice(jobs.succeeded(), MOST_JOBS):
        try:
            recipe = recipe_from_dict(job.recipe)
        except InvalidRecipe:  # another version wrote it
            continue
        if recipe.dataset not in seen:
            seen[recipe.dataset] = _look(recipe.dataset, data)
        found = seen[recipe.dataset]
        if found is None or job.plan is None or job.plan.get("device") != device:
            continue
        pictures = _pictures(job, found, recipe.validation_fraction)
        if pictures is not None:
            ended.append(_Ended(job, recipe, pictures))
    return ended


def _pictures(job: Job, found: Survey, validation_fraction: float) -> int | None:
    """Return how many pictures a job trained on; none if its data set is another one by now."""
    try:
        train, validation = split_sizes(found, validation_fraction)
    except InvalidDataset:
        return None
    then = (job.metrics or {}).get("validation", {}).get("pictures")
    return train if then == validation else None


def _paces(ended: _Ended, store: Store) -> list[Pace]:
    job, recipe = ended.job, ended.recipe
    try:
        parts = planned_parts(recipe, ended.pictures, SIZE, store)
    except (InvalidRecipe, CorruptArtefact):  # the ensemble that taught it is gone, or damaged
        return []
    trained = {Part("teacher", each.index): each for each in job.teachers}
    trained |= {Part("member", each.index): each for each in job.members}
    seconds = {part: [epoch.seconds for epoch in each.curve] for part, each in trained.items()}
    together = int((job.plan or {}).get("together", 1))
    return paces_of(
        job.id, recipe, parts, pictures=ended.pictures, together=together, seconds=seconds
    )


def _trained_before(recipe: Recipe, ended: list[_Ended], store: Store) -> frozenset[Part]:
    """Return the teachers that an earlier job on the same data set has left in the store."""
    digest = next(
        (
            digest
            for each in ended
            if each.recipe.dataset == recipe.dataset and (digest := _digest(each.job, store))
        ),
        None,
    )
    if digest is None:
        return frozenset()
    return frozenset(
        Part("teacher", index)
        for index, teacher in enumerate(recipe.teacher)
        if isinstance(teacher, TrainedTeacher)
        and store.files.exists(
            f"teachers/{teacher_digest_of(recipe, teacher, digest)}/manifest.json"
        )
    )


def _digest(job: Job, store: Store) -> str | None:
    """Return the digest of a job's pictures; none if its ensemble is gone."""
    try:
        return store.manifest(job.ensemble or "").dataset["digest"]
    except (EnsembleNotFound, CorruptArtefact):
        return None
