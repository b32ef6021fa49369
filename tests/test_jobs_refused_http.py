"""A recipe that cannot work is refused before anything is written down or enqueued."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis

from app.settings import Settings
from models.store import Store
from tests.service import accepted, messages, post, problem_of, settings_for
from tests.tiny import COLOURS, publish, write_dataset
from tests.trees import below, png, tiny, unpack

Refusal = Callable[..., list[tuple[str, str]]]

FITS = {"dataset": "noise", "batch_size": 16, "validation_fraction": 0.25, "teacher": None}
"""Four classes of eight pictures: 24 to train on, 8 to validate on."""


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """A service that sees data sets: one that is fine, and some that are not."""
    data = tmp_path / "data"
    write_dataset(data / "noise", train=8)
    unpack(below("train/a", tiny()), data / "lonely")
    unpack(below("train", tiny()) | {"train/c/1.png": png(1)}, data / "sparse")
    unpack(tiny() | {"more.zip": b"no zip"}, data / "damaged")
    return settings_for(tmp_path, redis_url, data=data)


@pytest.fixture
def refusal(client: httpx.Client, store: Store, redis: Redis) -> Refusal:
    """Post a recipe that is refused, see that it left no trace, return fields and reasons."""

    def ask(type_: str, **changes: Any) -> list[tuple[str, str]]:
        problem = problem_of(post(client, FITS | changes), 422, type_)
        assert client.get("/jobs").json()["jobs"] == []
        assert not Path(store.files.path("jobs")).exists()
        assert messages(redis) == []
        return [(error["field"], error["reason"]) for error in problem["errors"]]

    return ask


def test_a_recipe_that_fits_its_data_is_accepted(client: httpx.Client, store: Store) -> None:
    accepted(client, FITS)
    accepted(client, FITS | {"batch_size": 24, "teacher": {"ensemble": publish(store).id}})
    accepted(client, {"teacher": None})  # cifar100, though it is not there yet


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("validation_fraction", 1.5),
        ("validation_fraction", 1),
        ("validation_fraction", 0),
        ("batch_size", 1),
        ("student", "resnet15"),
        ("student", "vgg8"),
    ],
)
def test_what_no_data_could_make_work_is_refused(refusal: Refusal, field: str, value: Any) -> None:
    ((named, reason),) = refusal("invalid-request", **{field: value})
    assert named == field
    assert reason


def test_an_unknown_network_cannot_teach(refusal: Refusal) -> None:
    ((field, reason),) = refusal("invalid-request", teacher={"student": "vgg8"})
    assert field == "teacher.student"
    assert "resnet18" in reason


@pytest.mark.parametrize(
    ("dataset", "says"),
    [
        ("nowhere", "nowhere: there is no such folder with pictures"),
        ("lonely", "lonely/train: has one class, 'a'"),
        ("sparse", "class 'c' has a single training picture"),
        ("damaged", "damaged/more.zip: is no zip archive"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_refused(
    refusal: Refusal, settings: Settings, dataset: str, says: str
) -> None:
    ((field, reason),) = refusal("invalid-recipe", dataset=dataset, batch_size=2)
    assert field == "dataset"
    assert reason.startswith(says)
    assert str(settings.data.parent) not in reason


@pytest.mark.parametrize(
    ("dataset", "batch_size", "pictures"), [("noise", 25, 24), ("cifar100", 37_501, 37_500)]
)
def test_a_batch_larger_than_the_train_split_is_refused(
    refusal: Refusal, dataset: str, batch_size: int, pictures: int
) -> None:
    ((field, reason),) = refusal("invalid-recipe", dataset=dataset, batch_size=batch_size)
    assert field == "batch_size"
    assert reason == f"{batch_size} is more than the {pictures} pictures to train on"


def test_a_teacher_that_does_not_fit_the_data_is_refused(refusal: Refusal, store: Store) -> None:
    others = ("ant", *list(COLOURS)[1:])
    other, known = publish(store, name="other", classes=others).id, publish(store).id
    ((field, reason),) = refusal("invalid-recipe", teacher={"ensemble": other})
    assert (field, "other classes" in reason) == ("teacher.ensemble", True)
    ((field, reason),) = refusal("invalid-recipe", teacher={"ensemble": "nobody"})
    assert (field, "nobody" in reason) == ("teacher.ensemble", True)
    ((field, reason),) = refusal(
        "invalid-recipe", teacher={"ensemble": known}, validation_fraction=0.3
    )
    assert (field, "held out only 0.25" in reason) == ("validation_fraction", True)


def test_all_that_contradicts_the_data_is_told_at_once(refusal: Refusal, store: Store) -> None:
    id_ = publish(store).id
    found = refusal(
        "invalid-recipe",
        teacher={"ensemble": id_},
        validation_fraction=0.5,
        batch_size=17,
    )
    assert [field for field, _ in found] == ["batch_size", "validation_fraction"]
