"""Distillation of data sets of all kinds, and of those and recipes that cannot work."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.ensemble import EnsembleManifest
from models.errors import InvalidDataset, InvalidRecipe
from models.store import Store
from tests.tiny import RECIPE, go_on, ignore, write_dataset
from training.datasets import Pictures
from training.distill import distill
from training.progress import Event, Report, Resumed
from training.recipe import Recipe
from training.work import normalisation_of

SHORT = replace(RECIPE, members=1, epochs=1)


def run(
    store: Store, data: Path, recipe: Recipe = SHORT, *, report: Report = ignore
) -> EnsembleManifest:
    manifest = distill(recipe, data, store, "job", report=report, check=go_on)
    assert manifest is not None
    return manifest


def test_a_data_set_without_test_pictures_is_fine(tmp_path: Path, store: Store) -> None:
    write_dataset(tmp_path / "data/noise", train=8)
    manifest = run(store, tmp_path / "data", SHORT)
    assert manifest.metrics.keys() == manifest.predictions.keys() == {"validation"}
    assert manifest.metrics["validation"]["pictures"] == 8


def test_validation_pictures_of_its_own_are_used(tmp_path: Path, store: Store) -> None:
    write_dataset(tmp_path / "data/noise", train=8, val=3)
    recipe = replace(SHORT, batch_size=32)  # as many as there are: none were held out
    assert run(store, tmp_path / "data", recipe).metrics["validation"]["pictures"] == 12


def test_a_batch_larger_than_the_pictures_left_is_refused(data: Path, store: Store) -> None:
    recipe = replace(RECIPE, batch_size=73)  # of 96 pictures 24 validate
    with pytest.raises(InvalidRecipe) as refused:
        run(store, data, recipe)
    (problem,) = refused.value.problems
    assert problem.field == "batch_size"
    assert problem.reason == "73 is more than the 72 pictures to train on"


def test_a_bad_recipe_is_refused_before_anything_is_read(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match=r"members: 0 .*epochs: 0"):
        run(store, tmp_path / "nowhere", replace(RECIPE, members=0, epochs=0))


def test_missing_data_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match="nowhere/noise"):
        run(store, tmp_path / "nowhere")


def test_the_seed_of_a_recipe_does_not_change_which_pictures_validate(
    data: Path, store: Store
) -> None:
    one, other = (run(store, data, replace(SHORT, seed=seed)) for seed in (0, 1))
    assert one.members != other.members
    # Mean and deviation of the pictures that were trained on: the same pictures.
    assert one.normalisation == other.normalisation


def test_normalisation_is_mean_and_deviation_of_each_channel() -> None:
    images = torch.zeros(2, 3, 1, 2, dtype=torch.uint8)
    images[0, 0] = 255
    images[:, 1] = 51
    normalisation = normalisation_of(Pictures(images, torch.zeros(2)))
    assert normalisation.mean == (0.5, 0.2, 0.0)
    assert normalisation.std == (0.5, 0.0001, 0.0001)


def test_other_pictures_under_the_same_name_do_not_meet_old_checkpoints(
    tmp_path: Path, data: Path, store: Store
) -> None:
    run(store, data)
    write_dataset(tmp_path / "others/noise", seed=1)
    events: list[Event] = []
    run(store, tmp_path / "others", report=events.append)
    assert not [event for event in events if isinstance(event, Resumed)]
