"""What no recipe can do with its data set or with other ensembles, told before it is trained."""

import logging
import os
from functools import cache
from pathlib import Path

from models.ensemble import EnsembleManifest
from models.errors import EnsembleNotFound, FieldProblem, InvalidDataset, InvalidRecipe
from models.store import Store
from training.datasets import Dataset
from training.recipe import Recipe
from training.survey import split_sizes, survey

_log = logging.getLogger(__name__)


def check_against_data(recipe: Recipe, folder: Path, store: Store) -> None:
    """Refuse a recipe that cannot work with its data set or ensembles, without reading a picture.

    Where the folder of data sets is not there, as on a machine that only answers, what the data
    would say is left to whoever trains.

    Args:
        recipe: fine in itself, see ``check_recipe``.
        folder: the folder of data sets.
        store: where the ensembles are that teach it or that it begins with.

    Raises:
        InvalidRecipe: with every problem found; no reason tells where the folder is.
        CorruptArtefact: the manifest of one of those ensembles cannot be read.
    """
    problems: list[FieldProblem] = []
    manifests: list[tuple[str, EnsembleManifest]] = []
    for field, id_ in recipe.ensembles:
        try:
            manifest = store.manifest(id_)
        except EnsembleNotFound as error:
            problems.append(FieldProblem(field, str(error)))
        else:
            manifests.append((field, manifest))
            problems += problems_with_shape(recipe, field, manifest)
    if folder.is_dir():
        problems += _problems_with_data(recipe, manifests, folder.absolute())
    else:
        _say_that_nothing_is_seen(folder)
    if problems:
        raise InvalidRecipe(problems)


def check_batch_size(batch_size: int, pictures: int) -> None:
    """Refuse batches larger than the train split, of which there would be none.

    Args:
        batch_size: pictures per step.
        pictures: how many there are to train on.

    Raises:
        InvalidRecipe: naming the field.
    """
    if batch_size > pictures:
        reason = f"{batch_size} is more than the {pictures} pictures to train on"
        raise InvalidRecipe([FieldProblem("batch_size", reason)])


def named_ensemble(
    recipe: Recipe, field: str, id_: str, dataset: Dataset, store: Store
) -> EnsembleManifest:
    """Return an ensemble that a recipe is to be taught by, or to begin with.

    Args:
        recipe: that names it.
        field: in which it does.
        id_: the ensemble's.
        dataset: to train on.
        store: where ensembles are.

    Raises:
        InvalidRecipe: it does not exist, or does not fit the data set or the recipe.
        CorruptArtefact: its manifest cannot be read.
    """
    try:
        manifest = store.manifest(id_)
    except EnsembleNotFound as error:
        raise InvalidRecipe([FieldProblem(field, str(error))]) from error
    check_ensemble(
        field,
        manifest,
        dataset.name,
        dataset.classes,
        has_own_validation=dataset.validation is not None,
        validation_fraction=recipe.validation_fraction,
    )
    if problems := problems_with_shape(recipe, field, manifest):
        raise InvalidRecipe(problems)
    return manifest


def check_ensemble(
    field: str,
    manifest: EnsembleManifest,
    dataset_name: str,
    classes: tuple[str, ...],
    *,
    has_own_validation: bool,
    validation_fraction: float,
) -> None:
    """Refuse an ensemble to be taught by, or to begin with, that does not fit the data set.

    Args:
        field: of the recipe, that names it.
        manifest: the ensemble's.
        dataset_name: for messages.
        classes: of the data set, in id order.
        has_own_validation: whether the data set comes with pictures to validate on.
        validation_fraction: the share of train that is held out where it does not.

    Raises:
        InvalidRecipe: it knows other classes, or was trained on pictures to validate on.
    """
    if manifest.classes != classes:
        reason = f"{manifest.id} knows other classes than the data set {dataset_name}"
        raise InvalidRecipe([FieldProblem(field, reason)])
    held_out = float(manifest.recipe.get("validation_fraction", 0.0))
    if not has_own_validation and held_out < validation_fraction:
        reason = f"{manifest.id} held out only {held_out}, so it was trained on pictures that this"
        reason += " recipe validates on; give at most that much"
        raise InvalidRecipe([FieldProblem("validation_fraction", reason)])


def problems_with_shape(
    recipe: Recipe, field: str, manifest: EnsembleManifest
) -> list[FieldProblem]:
    """Return why a recipe's members cannot begin with an ensemble's; whoever teaches may differ."""
    if field != "initial_ensemble":
        return []
    problems = []
    if manifest.network != recipe.student:
        reason = f"{manifest.id} consists of {manifest.network}, not of {recipe.student}"
        problems.append(FieldProblem(field, reason))
    if len(manifest.members) < recipe.members:
        reason = f"{manifest.id} has {len(manifest.members)} members, not {recipe.members}"
        problems.append(FieldProblem(field, reason))
    return problems


def _problems_with_data(
    recipe: Recipe, manifests: list[tuple[str, EnsembleManifest]], folder: Path
) -> list[FieldProblem]:
    try:
        found = survey(recipe.dataset, folder)
        train, _ = split_sizes(found, recipe.validation_fraction)
    except InvalidDataset as error:
        # The owner of the job may not be the owner of the machine: paths begin at the folder.
        return [FieldProblem("dataset", str(error).replace(f"{folder}{os.sep}", ""))]
    problems: list[FieldProblem] = []
    try:
        check_batch_size(recipe.batch_size, train)
    except InvalidRecipe as error:
        problems += error.problems
    for field, manifest in manifests:
        try:
            check_ensemble(
                field,
                manifest,
                found.name,
                found.classes,
                has_own_validation="val" in found.pictures,
                validation_fraction=recipe.validation_fraction,
            )
        except InvalidRecipe as error:
            problems += error.problems
    return problems


@cache
def _say_that_nothing_is_seen(folder: Path) -> None:
    # Once per process, by way of the cache: it is so for every job or for none.
    _log.warning(
        "there is no folder %s here: whether recipes fit their data is left to the workers", folder
    )
