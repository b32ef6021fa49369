"""The ensemble that ships with the code: whole, and answering real photos as it always has."""

from pathlib import Path

import matplotlib
import pytest
import skimage
import torch

from app.answers import How, answer, to_prediction
from app.schemas import Prediction
from models.answering import Answering
from models.choice import choose
from models.cores import Cores
from models.doubt import doubt_from_dict
from models.ensemble import Ensemble
from models.pictures import decode_picture
from models.store import Store
from training.recipe_check import recipe_from_dict

PHOTOS = (
    Path(skimage.__file__).parent / "data",
    Path(matplotlib.get_data_path()) / "sample_data",
)
"""Folders of photos that come with installed packages."""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    store = Store(tmp_path_factory.mktemp("empty"))
    id_ = store.serving()
    assert id_ is not None
    return store.load(id_)


@pytest.fixture(scope="module")
def answering(release: Ensemble) -> Answering:
    found = release.manifest.doubt
    assert found is not None
    doubt = doubt_from_dict(found, release.manifest.id)
    return Answering(release.manifest, choose(release, Cores(1)), doubt)


def ask(release: Answering, name: str) -> Prediction:
    (photo,) = (folder / name for folder in PHOTOS if (folder / name).exists())
    picture = decode_picture(photo.read_bytes(), release.manifest.size)
    (found,) = answer(How(release, "default"), [picture], waited_seconds=0)
    told = to_prediction(found, name, release.manifest.classes, 5)
    return Prediction.model_validate(told)


def test_a_fresh_checkout_serves_the_release(release: Ensemble) -> None:
    assert release.manifest.id.startswith("release-")
    assert release.manifest.network == "resnet14"
    assert len(release.manifest.classes) == 100


def test_its_recipe_is_one_that_can_be_run_again(release: Ensemble) -> None:
    recipe = recipe_from_dict(release.manifest.recipe)
    assert recipe.members == len(release.members)
    assert recipe.student == release.manifest.network


def test_its_members_differ(release: Ensemble) -> None:
    first, *others = (member.state_dict()["classifier.weight"] for member in release.members)
    for other in others:
        assert not torch.equal(first, other)


def test_it_is_better_together_than_its_members_are_alone(release: Ensemble) -> None:
    for metrics in release.manifest.metrics.values():
        assert metrics["pooled"]["accuracy"] > max(m["accuracy"] for m in metrics["members"])


@pytest.mark.parametrize(
    ("name", "label", "probability"),
    [
        ("rocket.jpg", "rocket", 0.893),
        ("motorcycle_left.png", "motorcycle", 0.853),
        ("motorcycle_right.png", "motorcycle", 0.823),
        ("coffee.png", "plate", 0.274),  # a cup on one, from above
        # What it gets wrong is stated too: a better release shows here as a worse one does.
        ("astronaut.png", "boy", 0.376),  # a woman
        ("grace_hopper.jpg", "man", 0.504),  # a woman
        ("clock_motion.png", "lamp", 0.197),  # a clock
    ],
)
def test_real_photos_are_answered_as_they_always_were(
    answering: Answering, name: str, label: str, probability: float
) -> None:
    prediction = ask(answering, name)
    assert prediction.label == label
    assert prediction.probability == pytest.approx(probability, abs=0.02)


def test_a_photo_of_nothing_it_knows_is_answered_with_doubt(answering: Answering) -> None:
    known, unknown = ask(answering, "motorcycle_left.png"), ask(answering, "camera.png")
    assert unknown.calibrated_probability < 0.3
    assert unknown.uncertainty.agreement < 0.5 < known.uncertainty.agreement
    assert unknown.uncertainty.outside
    assert not known.uncertainty.outside
