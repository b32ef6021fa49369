"""Errors on their way to HTTP: each has its answer, and each answer is problem details."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.problems import (
    ANSWERS,
    HTTP_ANSWERS,
    INVALID_REQUEST,
    KEY_NEEDED,
    QUEUE_UNAVAILABLE,
    SCOPE_NEEDED,
    TOO_MANY_REQUESTS,
    problem,
    type_uri,
)
from models.errors import StillhouseError
from models.store import Store
from tests.service import problem_of, running, settings_for


def tree(root: type[StillhouseError] = StillhouseError) -> Iterator[type[StillhouseError]]:
    yield root
    for branch in root.__subclasses__():
        yield from tree(branch)


def test_every_error_has_its_own_answer() -> None:
    assert set(ANSWERS) == set(tree())
    others = (INVALID_REQUEST, QUEUE_UNAVAILABLE, KEY_NEEDED, SCOPE_NEEDED, TOO_MANY_REQUESTS)
    types = [answer.type for answer in (*ANSWERS.values(), *others)]
    assert len(set(types)) == len(types)


@pytest.mark.parametrize("error", [*tree()], ids=lambda error: error.__name__)
def test_an_answer_is_an_error_status_with_words(error: type[StillhouseError]) -> None:
    answer = ANSWERS[error]
    assert answer.status != 500  # which would mean that nobody expected it
    assert 400 <= answer.status < 600
    assert answer.title[0].isupper()
    told = problem(answer, "why")
    assert told.type == type_uri(answer) == f"urn:stillhouse:problem:{answer.type}"
    assert (told.status, told.title, told.detail) == (answer.status, answer.title, "why")


def test_an_error_is_answered_like_its_parents_or_more_precisely() -> None:
    for error in tree():
        parent = error.__bases__[0]
        if parent in ANSWERS and parent is not StillhouseError:
            same_kind = ANSWERS[error].status // 100 == ANSWERS[parent].status // 100
            assert same_kind or parent.__name__ == "Stopped", error


def test_what_the_framework_refuses_is_told_by_its_status() -> None:
    for status, answer in HTTP_ANSWERS.items():
        assert answer.status == status


def test_fields_are_named_by_what_was_sent(tmp_path: Path, redis_url: str) -> None:
    with running(settings_for(tmp_path, redis_url)) as client:
        recipe = {"teacher": {"epochs": 0}, "epochs": 0}
        body = client.post("/jobs/distill", json=recipe)
        query = client.get("/jobs", params={"limit": 0})
        header = client.get(f"/jobs/{'0' * 32}", headers={"Last-Event-ID": "x"})
    for response, fields in ((body, ["teacher.epochs", "epochs"]), (query, ["limit"])):
        told = problem_of(response, 422, "invalid-request")
        assert sorted(error["field"] for error in told["errors"]) == sorted(fields)
        assert told["detail"] == "; ".join(
            f"{error['field']}: {error['reason']}" for error in told["errors"]
        )
    problem_of(header, 404, "job-not-found")  # of a header nobody reads here


def test_a_damaged_record_is_the_services_fault_and_named(
    tmp_path: Path, redis_url: str, store: Store
) -> None:
    id_ = "a" * 32
    with running(settings_for(tmp_path, redis_url)) as client:
        store.files.write(f"jobs/{id_}/request.json", b"{")
        told = problem_of(client.get(f"/jobs/{id_}"), 503, "corrupt-artefact")
    assert f"jobs/{id_}/request.json" in told["detail"]


def test_a_problem_without_fields_does_not_mention_them(tmp_path: Path, redis_url: str) -> None:
    with running(settings_for(tmp_path, redis_url)) as client:
        response: httpx.Response = client.get("/nothing")
    assert response.json().keys() == {"type", "title", "status", "detail"}
