"""``make release``: made by the product, found again, and as model hubs read it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from models.ensemble import EnsembleManifest
from models.resnet import build_network
from models.store import Store
from ops.release import (
    NAME,
    RELEASE,
    STUDENT_NAME,
    TEACHERS,
    clear,
    make,
    make_last,
    release,
    replace_release,
    taught_by,
)
from tests.tiny import RECIPE, write_dataset

MADE = replace(RECIPE, epochs=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "noise")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def made(data: Path, store: Store) -> EnsembleManifest:
    return make(MADE, data, store)


@pytest.fixture(scope="module")
def folder(made: EnsembleManifest, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("releases")
    (folder / "release-of-before").mkdir()
    clear(folder)
    return folder / release(made.id, store, folder, NAME).id


def test_what_the_same_recipe_made_is_not_made_again(
    made: EnsembleManifest, data: Path, store: Store
) -> None:
    assert make(replace(MADE, name="another-name"), data, store) == made
    assert make(replace(MADE, seed=1), data, store).id != made.id


def test_each_generation_is_taught_by_the_one_before_it(data: Path, store: Store) -> None:
    first, second = replace(MADE, seed=2, teacher=()), replace(MADE, seed=3)
    made = make_last((first, second), data, store)
    (teacher,) = (each for each in store.ensembles() if each.recipe["seed"] == 2)
    assert made.recipe["teacher"] == {"ensemble": teacher.id}
    assert make_last((first, second), data, store) == made


def test_what_ships_is_found_by_the_recipes_of_the_release(tmp_path: Path) -> None:
    store = Store(tmp_path)  # of a machine that has only what ships
    assert NAME in {each.id for each in store.ensembles()}
    made = make_last((TEACHERS, RELEASE), tmp_path / "no data is needed", store)
    assert made.id == NAME


def test_what_ships_already_stays_and_another_takes_its_place(
    made: EnsembleManifest, data: Path, store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "releases"
    replace_release((MADE,), data, store, folder)
    elsewhere = Store(tmp_path / "elsewhere", release=folder)
    card = folder / NAME / "README.md"
    card.write_text("of another version")
    replace_release((MADE,), data, elsewhere, folder)
    assert "## Recipe" in card.read_text()
    assert elsewhere.load(NAME).manifest.metrics == made.metrics
    replace_release((replace(MADE, seed=7),), data, elsewhere, folder)
    assert elsewhere.manifest(NAME).recipe["seed"] == 7


def test_the_release_of_before_is_gone(folder: Path) -> None:
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]


def test_a_hub_reads_the_card(made: EnsembleManifest, folder: Path) -> None:
    card = ModelCard.load(folder / "README.md")
    found = {each.metric_name: each.metric_value for each in card.data.eval_results}
    right = made.metrics["test"]["calibrated"]["accuracy"]
    assert found["top-1 accuracy, averaged"] == pytest.approx(right, abs=1e-4)
    assert card.data.pipeline_tag == "image-classification"
    assert f"| averaged | {made.metrics['test']['pooled']['accuracy']:.2%} |" in card.text
    held_out = made.metrics["validation"]["pictures"]
    assert f"{held_out:,} pictures held out of train" in card.text


def test_a_card_has_every_recipe_that_led_to_what_ships(
    made: EnsembleManifest, store: Store, tmp_path: Path
) -> None:
    release(made.id, store, tmp_path, NAME, before=(TEACHERS,))
    card = ModelCard.load(tmp_path / NAME / "README.md")
    _, *blocks = card.text.split("```json\n")
    recipes = [json.loads(block.partition("```")[0]) for block in blocks]
    assert recipes == [TEACHERS.to_dict(), made.recipe]


def test_each_member_is_a_model_of_its_own_to_a_hub(folder: Path, made: EnsembleManifest) -> None:
    members = sorted(folder.glob("member-*"))
    assert len(members) == len(made.members)
    for member in members:
        config = json.loads((member / "config.json").read_text())
        network = build_network(config["model_type"], config["num_labels"])
        network.load_state_dict(load_file(member / "model.safetensors"))
        assert list(config["id2label"].values()) == list(made.classes)


def test_a_student_of_the_release_ships_beside_it_and_does_not_serve(
    made: EnsembleManifest, data: Path, store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "releases"
    shipped = release(made.id, store, folder, NAME)
    elsewhere = Store(tmp_path / "elsewhere", release=folder)  # which made no ensemble of its own
    student = make(taught_by(shipped, replace(MADE, members=1)), data, elsewhere)
    release(student.id, elsewhere, folder, STUDENT_NAME, teacher=shipped)
    fresh = Store(tmp_path / "fresh", release=folder)
    assert {each.id for each in fresh.ensembles()} == {NAME, STUDENT_NAME}
    assert fresh.manifest(STUDENT_NAME).recipe["teacher"] == {"ensemble": NAME}
    assert fresh.serving() == NAME
    card = ModelCard.load(folder / STUDENT_NAME / "README.md")
    right = 100 * shipped.metrics["test"]["pooled"]["accuracy"]
    which = f"`{NAME}` of {shipped.created_at[:10]}"
    assert f"averaged | {right:.2f} | {which} |" in card.text
    assert "With fewer of them" not in card.text
    assert "averaged" not in card.text.partition("To compare with")[0]


def test_the_release_is_loaded_and_its_files_checked(folder: Path, tmp_path: Path) -> None:
    fresh = Store(tmp_path, release=folder.parent)
    assert fresh.serving() == folder.name
    assert len(fresh.load(folder.name).members) == MADE.members
