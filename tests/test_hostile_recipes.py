"""Recipes made to do harm: refused at once, with the field named, and nothing written down."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.schemas import Problem
from tests.service import post, problem_of, running, settings_for
from training.bounds import BOUNDS
from training.recipe import Recipe

NUMBERS = [name for name in BOUNDS if "." not in name]
WHOLE = [name for name in NUMBERS if isinstance(getattr(Recipe(), name), int)]
LONGEST_SECONDS = 3.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@pytest.fixture(scope="module")
def client(folder: Path, redis_url: str) -> Iterator[httpx.Client]:
    with running(settings_for(folder, redis_url)) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_is_written_down(folder: Path) -> Iterator[None]:
    yield
    assert not (folder / "store" / "jobs").exists()


def refusal(client: httpx.Client, text: str | bytes, path: str = "/jobs/distill") -> Problem:
    """Send a body as JSON, see that it is refused and quickly, and return the problem."""
    method = "PUT" if path == "/ensembles/serving" else "POST"
    started = time.perf_counter()
    response = client.request(
        method, path, content=text, headers={"Content-Type": "application/json"}
    )
    assert time.perf_counter() - started < LONGEST_SECONDS
    return Problem.model_validate(problem_of(response, 422, "invalid-request"))


def fields(problem: Problem) -> set[str]:
    return {error.field for error in problem.errors or []}


HUGE = ["1e400", "-1e400", "1e308", "-1", "9" * 100, "-" + "9" * 290, "9" * 5000, "9" * 60_000]
NO_NUMBERS = [
    "NaN",
    "Infinity",
    "-Infinity",
    '"1"',
    "true",
    "null",
    "[]",
    "{}",
    '"\\ud800"',
    "[[1]]",
]


@pytest.mark.parametrize("value", HUGE + NO_NUMBERS, ids=lambda value: value[:12])
def test_numbers_that_are_none_or_out_of_bounds_are_refused_by_name(
    client: httpx.Client, value: str
) -> None:
    names = NUMBERS if len(value) < 1000 else NUMBERS[:1]  # a recipe is 64 KiB at most
    text = ", ".join(f'"{name}": {value}' for name in names)
    assert fields(refusal(client, f"{{{text}}}")) == set(names)


@pytest.mark.parametrize("value", ["1.0", "1.5", "2e0", "1e-400"])
def test_a_fraction_is_no_whole_number(client: httpx.Client, value: str) -> None:
    text = ", ".join(f'"{name}": {value}' for name in WHOLE)
    assert fields(refusal(client, f"{{{text}}}")) == set(WHOLE)


@pytest.mark.parametrize("value", [*HUGE, *NO_NUMBERS], ids=lambda value: value[:12])
def test_a_teachers_numbers_are_named_too(client: httpx.Client, value: str) -> None:
    found = refusal(client, f'{{"teacher": [{{"epochs": 1}}, {{"epochs": {value}}}]}}')
    assert fields(found) == {"teacher.1.epochs"}


@pytest.mark.parametrize("name", ["preset", "name", "dataset", "student", "optimiser", "promote"])
@pytest.mark.parametrize(
    "value",
    ['"\\ud800"', '"\\udc00a"', '"\\u0000"', '"a\\nb"', '"a\\n"', "1", "{}", "[[]]", '"\u0430"',
     '"' + "a" * 60_000 + '"', '"../a"'],
    ids=range(11),
)  # fmt: skip
def test_words_that_are_none_are_refused_by_name(
    client: httpx.Client, name: str, value: str
) -> None:
    assert fields(refusal(client, f'{{"{name}": {value}}}')) == {name}


@pytest.mark.parametrize(
    "key", ["\\ud800", "\\u0000", "__class__", "a" * 50_000, "teacher.student", ""]
)
def test_an_unknown_field_is_refused_whatever_it_is_called(client: httpx.Client, key: str) -> None:
    (error,) = refusal(client, f'{{"{key}": 1}}').errors or []
    assert error.reason.startswith(
        ("Extra inputs are not permitted", "Input should be a valid string")
    )


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"epochs": 1, "epochs": 2}', "epochs"),
        ('{"epochs": 1, "\\u0065pochs": 1}', "epochs"),
        ('{"teacher": {"student": "resnet20", "student": "resnet8"}}', "student"),
        ('{"teacher": {"ensemble": "a"}, "teacher": null}', "teacher"),
        ('{"a": {"b": [{"c": 1, "c": 1}]}}', "c"),
    ],
)
def test_a_field_given_twice_is_refused_by_name(
    client: httpx.Client, text: str, field: str
) -> None:
    (error,) = refusal(client, text).errors or []
    assert (error.field, error.reason) == (field, "is given twice")


@pytest.mark.parametrize("depth", [2, 100, 900, 30_000])
@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}"), ('{"teacher":[', "]}")])
def test_deep_nesting_is_refused(client: httpx.Client, depth: int, start: str, end: str) -> None:
    depth = min(depth, 60_000 // len(start + end))
    assert refusal(client, start * depth + "1" + end * depth).errors
    assert refusal(client, f'{{"teacher": {"[" * depth}{"]" * depth}}}').errors
    assert refusal(client, start * depth).errors


def test_a_hundred_thousand_brackets_are_too_many_bytes(client: httpx.Client) -> None:
    problem_of(client.post("/jobs/distill", content=b"[" * 100_000), 413, "request-too-large")


@pytest.mark.parametrize(
    "text",
    [b"{", b"", b"\xff", b"\xed\xa0\x80", b"\0", b"{'a': 1}", b'{"a": 01}', b"{} {}",
     b"nul", b'{"a": "\t"}', '"é"'.encode("latin-1"), b"[]", b"0", b"null", b'"{}"',
     b"NaN", b"1" * 60_000],
    ids=range(17),
)  # fmt: skip
@pytest.mark.parametrize("path", ["/jobs/distill", "/ensembles/serving"])
def test_what_is_no_object_is_refused_as_a_whole(
    client: httpx.Client, path: str, text: bytes
) -> None:
    assert fields(refusal(client, text, path)) == {"body"}


def test_what_is_wrong_with_the_text_is_told(client: httpx.Client) -> None:
    (error,) = refusal(client, '{"epochs": 1,,}').errors or []
    assert error.reason.startswith("is no JSON: ")
    assert error.reason.endswith(" at character 13")


@pytest.mark.parametrize("type_", ["text/plain", "application/x-www-form-urlencoded", None, "a"])
def test_a_recipe_that_is_not_called_json_is_refused(
    client: httpx.Client, type_: str | None
) -> None:
    headers = {"Content-Type": type_} if type_ else {}
    response = client.post("/jobs/distill", content=b'{"epochs": 1}', headers=headers)
    problem_of(response, 422, "invalid-request")


def test_a_thousand_wrong_fields_are_told_at_once(client: httpx.Client) -> None:
    wrong: dict[str, Any] = {f"f{number}": number for number in range(3000)}
    assert fields(refusal(client, json.dumps(wrong))) == set(wrong)


def test_many_teachers_are_counted_not_tried(client: httpx.Client) -> None:
    text = json.dumps({"teacher": [{"ensemble": "a"}] * 2500})
    assert fields(refusal(client, text)) == {"teacher"}


@pytest.mark.parametrize("key", ["a" * 256, "", "\xff" * 300])
def test_a_key_for_retries_is_bounded(client: httpx.Client, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    response = client.post("/jobs/distill", json={}, headers=headers)
    problem_of(response, 422, "invalid-request")


def test_a_recipe_at_its_bounds_is_understood(client: httpx.Client) -> None:
    high = {name: BOUNDS[name].high for name in NUMBERS}
    high |= {name: int(BOUNDS[name].high) for name in WHOLE}
    high |= {"distillation_weight": 0.5, "distillation_weight_spread": 0.5}
    problem = problem_of(
        post(client, high | {"teacher": {"ensemble": "nobody"}}), 422, "invalid-recipe"
    )
    assert {error["field"] for error in problem["errors"]} == {"teacher.ensemble"}
