"""Distillation: from a recipe and pictures to a finished ensemble in the store.

A run is cut into pieces (``progress.Part``): teachers, their answers to kept views, members, and
the ensemble. Each leaves its result in the store, so it does not matter which process does which
piece, or how often it is interrupted; several processes share a run by claiming pieces.
"""

import logging
import os
from pathlib import Path

import torch

from models.ensemble import EnsembleManifest
from models.store import Store
from training.datasets import load_dataset
from training.feasible import named_ensemble
from training.fit import Run
from training.footprint import training_device
from training.heap import kept_heap
from training.members import finished_member, train_members
from training.progress import Check, DataRead, MemoryPlanned, Part, PartDone, Report, Resumed
from training.publishing import publish
from training.recipe import Recipe, teacher_recipe
from training.recipe_check import check_recipe
from training.teachers import find_teacher, train_teacher
from training.teaching import answer, is_answered, read_views
from training.together import Claim, Serial, do_together
from training.work import Work, prepare

_log = logging.getLogger(__name__)


def distill(
    recipe: Recipe,
    data: Path,
    store: Store,
    name: str,
    *,
    report: Report,
    check: Check,
    claim: Claim = lambda _: True,
    limit_bytes: int | None = None,
    deterministic: bool = False,
) -> EnsembleManifest | None:
    """Train teachers, then members, and publish them as an ensemble.

    Everything finished before an interruption is found again under the same ``name``.

    Args:
        recipe: what to train.
        data: folder of data sets.
        store: where checkpoints go, teachers are kept and the ensemble is published.
        name: of this run's folder of checkpoints, which stay until ``forget_run``: whoever
            writes down that the run has ended does so first.
        report: is told what happens, batch by batch.
        check: called before each batch; raises ``Stopped`` when the work is to end.
        claim: asked before each piece, and again for one that was granted before.
        limit_bytes: memory that training may use; none for all there is.
        deterministic: whether only such GPU kernels may be used as give the same bits every time;
            on a CPU they all do.

    Returns:
        The manifest of the published ensemble; none if what is left is in other hands.

    Raises:
        InvalidRecipe: the recipe cannot work with this data set or teacher.
        InvalidDataset: the data set is missing or malformed.
        NotEnoughMemory: not even one network fits within the limit.
        TrainingDiverged: a network's loss or logits became infinite.
        StoreFull: no space left for a checkpoint or the ensemble.
        Stopped: from ``check``.
    """
    check_recipe(recipe)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS demands it
    torch.use_deterministic_algorithms(deterministic)

    def read(done: int, total: int) -> None:
        check()
        report(DataRead(done, total))

    dataset = load_dataset(recipe.dataset, data, store.files, progress=read)
    for field, id_ in recipe.ensembles:  # now, not after hours of training a teacher
        named_ensemble(recipe, field, id_, dataset, store)
    device = training_device()
    run = Run(device, Serial(report), check)
    work = prepare(recipe, dataset, store, name, run=run, limit_bytes=limit_bytes)
    report(work.planned())
    plan = work.plan_members()  # now, for the same reason
    _log.info("training %s: %s", recipe.display_name(), plan)
    report(MemoryPlanned(plan))

    with kept_heap():
        for stage in (_teachers, _answers, _members):
            if not stage(work, claim):
                return None
    if not claim(Part("ensemble")):
        return None
    check()  # the last moment: what is published stays
    return publish(work)


def forget_run(store: Store, name: str) -> None:
    """Delete the checkpoints of a run that has ended and will not be tried again."""
    store.files.delete(f"runs/{name}")


def _teachers(work: Work, claim: Claim) -> bool:
    """Train the teachers that are not in the store; say whether all are there now."""

    def is_done(part: Part) -> bool:
        return find_teacher(work.store, work.teacher_name(part.index), part) is not None

    def train(parts: list[Part], run: Run) -> None:
        for part in parts:
            teacher, digest = work.teachers[part], work.teacher_name(part.index)
            store = work.store
            train_teacher(work.recipe, teacher, part, work.lesson, digest, store=store, run=run)

    for part, teacher in work.teachers.items():
        if found := find_teacher(work.store, work.teacher_name(part.index), part):
            work.run.report(Resumed(part, found[1]))
            work.run.report(PartDone(part))
        else:
            recipe = teacher_recipe(work.recipe, teacher)
            plan = work.plan_memory(recipe, networks=1)
            do_together([part], recipe, plan, work, claim=claim, is_done=is_done, do=train)
    return all(map(is_done, work.teachers))


def _answers(work: Work, claim: Claim) -> bool:
    """Let teachers answer the views that are kept; say whether all are answered now."""
    for part in work.answers:
        if not is_answered(work, part) and claim(part):
            answer(work, part)
    return all(is_answered(work, part) for part in work.answers)


def _members(work: Work, claim: Claim) -> bool:
    """Train the members that are not finished; say whether all are now."""
    missing = []
    for part in work.members:
        if found := finished_member(work, part):
            work.run.report(Resumed(part, found.curve))
            work.run.report(PartDone(part))
        else:
            missing.append(part)
    if not missing:
        return True
    if work.recipe.is_coupled:
        missing = work.members
    views_of = read_views(work)

    def is_done(part: Part) -> bool:
        return finished_member(work, part) is not None

    def train(parts: list[Part], run: Run) -> None:
        train_members(work, parts, views_of, run)

    plan = work.plan_members()
    do_together(missing, work.recipe, plan, work, claim=claim, is_done=is_done, do=train)
    return all(map(is_done, work.members))
