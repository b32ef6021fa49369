"""Asking for an ensemble: accepted means durable, and bad requests hear all that is wrong."""

import json
from dataclasses import replace
from typing import Any

import httpx
import pytest
from redis import Redis

from app.jobs import Jobs
from app.recipe_request import RecipeRequest
from app.settings import Settings
from models.store import Store
from tests.service import accepted, finish, messages, post, problem_of, running
from tests.tiny import publish
from training.recipe import PRESETS, TrainedTeacher

# Accepting.


def test_an_empty_recipe_is_a_valid_job(client: httpx.Client, store: Store, redis: Redis) -> None:
    response = post(client, {})
    job = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert job["status"] == "queued"
    assert job["recipe"] == PRESETS["default"].to_dict()
    assert (job["progress"], job["eta_seconds"]) == (0.0, None)
    assert job["teacher"]["epochs"] == 60
    assert [member["index"] for member in job["members"]] == list(range(10))
    assert [job[key] for key in ("ensemble", "promotion", "metrics", "error")] == [None] * 4
    assert [job[key] for key in ("started_at", "finished_at")] == [None] * 2
    assert client.get(response.headers["location"]).json() == job
    request = json.loads(store.files.read(f"jobs/{job['id']}/request.json"))
    assert request["recipe"] == job["recipe"]
    assert messages(redis) == [job["id"]]


def test_fields_override_the_preset(client: httpx.Client) -> None:
    posted = {
        "preset": "seed",
        "name": "mine",
        "members": 3,
        "learning_rate": 1,  # JSON has one kind of number
        "teacher": {"student": "resnet20", "epochs": 7},
        "promote": "never",
    }
    recipe = post(client, posted).json()["recipe"]
    teacher = {"student": "resnet20", "epochs": 7, "seed": 0}
    assert recipe == {**PRESETS["seed"].to_dict(), **posted, "teacher": teacher}


def test_every_field_of_a_recipe_can_be_posted(client: httpx.Client) -> None:
    recipe = replace(
        PRESETS["default"],
        teacher=(TrainedTeacher("resnet8", 3, seed=1), TrainedTeacher("resnet8", 3, seed=2)),
        teacher_views=7,
        optimiser="muon",
        muon_learning_rate=0.25,
        muon_weight_decay=0.5,
        initialisation="dirac",
        distillation_loss="dkd",
        temperature_spread=2.0,
        distillation_weight_spread=0.25,
    ).to_dict()
    assert recipe.keys() == RecipeRequest.model_fields.keys()
    assert post(client, recipe).json()["recipe"] == recipe


@pytest.mark.parametrize(
    ("teacher", "progress"),
    [(None, None), ({"student": "resnet8"}, 60), ({"epochs": 3}, 3)],
)
def test_a_teacher_may_be_left_out_or_given_in_part(
    client: httpx.Client, teacher: dict[str, Any] | None, progress: int | None
) -> None:
    job = post(client, {"teacher": teacher}).json()
    assert (job["teacher"] and job["teacher"]["epochs"]) == progress


def test_an_ensemble_may_teach_if_there_is_one(client: httpx.Client, store: Store) -> None:
    id_ = publish(store).id
    job = post(client, {"teacher": {"ensemble": id_}}).json()
    assert (job["teacher"], job["recipe"]["teacher"]) == (None, {"ensemble": id_})
    refused = problem_of(post(client, {"teacher": {"ensemble": "nobody"}}), 422, "invalid-recipe")
    assert [error["field"] for error in refused["errors"]] == ["teacher.ensemble"]


def test_a_recipe_the_service_answered_with_can_be_posted_again(client: httpx.Client) -> None:
    first = client.get(f"/jobs/{accepted(client)}").json()["recipe"]
    assert client.get(f"/jobs/{accepted(client, first)}").json()["recipe"] == first


def test_a_teacher_named_alone_is_trained_as_in_the_preset(client: httpx.Client) -> None:
    id_ = accepted(client, {"preset": "strong", "teacher": {"student": "resnet20"}})
    recipe = client.get(f"/jobs/{id_}").json()["recipe"]
    assert recipe["teacher"] == {"student": "resnet20", "epochs": 100, "seed": 0}


def test_several_teachers_are_filled_from_the_preset_and_told_apart(
    client: httpx.Client, store: Store
) -> None:
    id_ = publish(store).id
    teachers = [{"seed": 3}, {"ensemble": id_}, {"student": "resnet20", "epochs": 5}]
    job = post(client, {"preset": "strong", "teacher": teachers}).json()
    assert job["recipe"]["teacher"] == [
        {"student": "resnet18", "epochs": 100, "seed": 3},
        {"ensemble": id_},
        {"student": "resnet20", "epochs": 5, "seed": 0},
    ]
    # Only those that are trained have progress to tell, by their place among all.
    assert [(each["index"], each["epochs"]) for each in job["teachers"]] == [(0, 100), (2, 5)]
    assert job["teacher"] == job["teachers"][0]
    twice = problem_of(post(client, {"teacher": [{}, {}]}), 422, "invalid-recipe")
    assert [error["field"] for error in twice["errors"]] == ["teacher"]


def test_a_bad_teacher_among_several_is_named_by_its_place(client: httpx.Client) -> None:
    teachers = [{}, {"student": "vgg", "seed": -1}, {"ensemble": "a", "epochs": 1}, 7]
    problem = problem_of(post(client, {"teacher": teachers}), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == [
        "teacher.1.student",
        "teacher.1.seed",
        "teacher.2.epochs",
        "teacher.3",
    ]


@pytest.mark.parametrize("count", [0, 101])
def test_teachers_are_1_to_100(client: httpx.Client, count: int) -> None:
    teachers = [{"seed": seed} for seed in range(count)]
    problem = problem_of(post(client, {"teacher": teachers}), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["teacher"]


# Refusing.

BAD = {
    "preset": "best",
    "name": "../x",
    "dataset": "a/b",
    "student": "resnet15",
    "members": 0,
    "teacher": {"student": "vgg", "epochs": 10_001, "seed": 0.5, "depth": 3},
    "teacher_views": 1_001,
    "epochs": 1.5,
    "batch_size": "128",
    "optimiser": "adam",
    "learning_rate": 0,
    "muon_learning_rate": 11,
    "momentum": 1,
    "nesterov": "yes",
    "weight_decay": -1,
    "muon_weight_decay": None,
    "schedule": "cosine",
    "initialisation": "xavier",
    "distillation_loss": "mse",
    "temperature": 1e400,
    "temperature_spread": 0.5,
    "distillation_weight": 1.1,
    "distillation_weight_spread": 0.6,
    "label_smoothing": True,
    "augmentation": ["flip"],
    "precision": "fp8",
    "validation_fraction": 0,
    "seed": 2**53,
    "promote": "maybe",
    "optimizer": "adam",
    "Members": 3,
}


def test_every_bad_field_is_named_at_once(client: httpx.Client) -> None:
    response = client.post(
        "/jobs/distill",
        content=json.dumps(BAD),
        headers={"Content-Type": "application/json"},
    )
    problem = problem_of(response, 422, "invalid-request")
    teacher = {f"teacher.{name}" for name in ("student", "epochs", "seed", "depth")}
    assert {error["field"] for error in problem["errors"]} == {*BAD, *teacher} - {"teacher"}
    assert all(error["reason"] for error in problem["errors"])


def test_fields_that_contradict_each_other_are_named(client: httpx.Client) -> None:
    response = post(client, {"momentum": 0.0, "nesterov": True, "learning_rate": 1e-6})
    problem = problem_of(response, 422, "invalid-recipe")
    assert {error["field"] for error in problem["errors"]} == {"momentum", "learning_rate"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"{}"',
        b"members=3",
        b"\xff\xfe{}",
        b"\x00",
        b'{"members": ' + b"9" * 5000 + b"}",
        b'{"seed": -1e999}',
        b'{"temperature": NaN}',
        b'{"temperature": Infinity}',
        b'{"weight_decay": -Infinity}',
        b'{"members": 1e2, "epochs": null}',
        b'{"teacher": []}',
        b'{"teacher": {"ensemble": "a", "epochs": 3}}',
        b'{"teacher": {"ensemble": ["a"]}}',
        b'{"teacher": [[{}]]}',
        b'{"teacher": [null]}',
        b'{"teacher": ' + b'{"teacher": ' * 3000 + b"1" + b"}" * 3001,
        b'{"name": ' + b"[" * 30_000,
        b'{"name": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        '{"name": "\\ud800", "näme": "a"}'.encode(),
        b'{"name": "a\\n"}',
        b'{"name": "a\\u0000"}',
        b'{"student": "' + b"a" * 40_000 + b'"}',
    ],
    ids=lambda body: ascii(body[:32]),
)
def test_no_body_is_more_than_refused(client: httpx.Client, redis: Redis, body: bytes) -> None:
    response = client.post(
        "/jobs/distill", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code in {400, 422}, response.text
    problem_of(response, response.status_code, response.json()["type"].rpartition(":")[2])
    assert messages(redis) == []


def test_only_json_is_taken(client: httpx.Client) -> None:
    response = client.post("/jobs/distill", content=b"{}", headers={"Content-Type": "text/plain"})
    assert response.status_code in {415, 422}
    problem_of(response, response.status_code, response.json()["type"].rpartition(":")[2])


def test_too_many_unfinished_jobs_have_to_wait(client: httpx.Client, jobs: Jobs) -> None:
    ids = [accepted(client) for _ in range(6)]
    response = post(client)
    problem_of(response, 429, "too-busy")
    assert int(response.headers["retry-after"]) > 0
    finish(jobs, ids[0])
    assert post(client).status_code == 202


# Retrying.


def test_a_retry_with_the_same_key_is_the_same_job(client: httpx.Client, redis: Redis) -> None:
    first, again = (post(client, {"members": 2}, key="once") for _ in range(2))
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"]
    assert messages(redis) == [first.json()["id"]]
    assert post(client, {"members": 2}, key="twice").json()["id"] != first.json()["id"]


def test_a_key_belongs_to_its_recipe(client: httpx.Client) -> None:
    post(client, {"members": 2}, key="once")
    response = post(client, {"members": 3}, key="once")
    problem_of(response, 409, "idempotency-conflict")


def test_a_key_outlives_the_process_and_redis(
    client: httpx.Client, settings: Settings, redis: Redis
) -> None:
    first = post(client, {"members": 2}, key="once").json()
    redis.flushall()
    with running(settings) as another:
        assert post(another, {"members": 2}, key="once").json() == first
        problem_of(post(another, {}, key="once"), 409, "idempotency-conflict")


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_has_1_to_255_characters(client: httpx.Client, key: str) -> None:
    problem = problem_of(post(client, key=key), 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["idempotency-key"]
