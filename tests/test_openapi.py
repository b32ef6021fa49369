"""The description of the service, and the pages that show it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.service import running, settings_for
from tests.test_scopes import EXPECTED, example

CONTRACT = {
    ("POST", "/predict"): {200, 400, 413, 415, 422, 429, 503, 504},
    ("GET", "/v2"): {200},
    ("GET", "/v2/health/live"): {200},
    ("GET", "/v2/health/ready"): {200, 503},
    ("GET", "/v2/models/{name}"): {200, 404, 422, 503},
    ("GET", "/v2/models/{name}/ready"): {200, 404, 422, 503},
    ("POST", "/v2/models/{name}/infer"): {200, 400, 404, 413, 415, 422, 429, 503, 504},
    ("GET", "/classes"): {200, 503},
    ("GET", "/presets"): {200},
    ("POST", "/jobs/plan"): {200, 400, 413, 422, 503},
    ("POST", "/jobs/distill"): {202, 400, 409, 413, 422, 429, 503, 507},
    ("GET", "/jobs"): {200, 404, 422, 503},
    ("GET", "/jobs/{id}"): {200, 404, 422, 503},
    ("DELETE", "/jobs/{id}"): {202, 404, 409, 422, 503},
    ("GET", "/jobs/{id}/events"): {200, 404, 422, 429, 503},
    ("GET", "/ensembles"): {200, 503},
    ("GET", "/ensembles/{id}"): {200, 404, 422, 503},
    ("GET", "/ensembles/{id}/report"): {200, 404, 422, 503},
    ("GET", "/ensembles/{id}/archive"): {200, 404, 422, 503},
    ("POST", "/ensembles"): {200, 201, 409, 413, 415, 422, 429, 503, 507},
    ("GET", "/datasets"): {200, 503},
    ("GET", "/datasets/{name}"): {200, 404, 422, 429, 503},
    ("GET", "/datasets/{name}/picture"): {200, 404, 422, 429, 503},
    ("PUT", "/datasets/{name}"): {201, 409, 413, 415, 422, 429, 503, 507},
    ("PUT", "/ensembles/serving"): {200, 400, 404, 413, 422, 503, 507},
    ("GET", "/healthz"): {200},
    ("GET", "/readyz"): {200, 503},
    ("GET", "/version"): {200},
    ("GET", "/metrics"): {200, 503},
}
"""Every call, and the codes that it may answer with."""

KEY = "a-key-that-may-predict"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    with running(settings_for(tmp_path_factory.mktemp("openapi"), redis_url)) as client:
        yield client


@pytest.fixture(scope="module")
def schema(client: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    """A service that asks for keys, and lets each be used only so often."""
    keys = {"api_keys": f"least:predict:{KEY}", "max_key_requests_per_second": 1000.0}
    with running(settings_for(tmp_path_factory.mktemp("locked"), redis_url, **keys)) as client:
        yield client


@pytest.fixture(scope="module")
def locked_schema(locked: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = locked.get("/openapi.json").json()
    return found


def operation(schema: dict[str, Any], call: tuple[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = schema["paths"][call[1]][call[0].lower()]
    return found


def test_every_call_of_the_contract_is_described_and_no_other(schema: dict[str, Any]) -> None:
    described = {
        (method.upper(), path) for path, methods in schema["paths"].items() for method in methods
    }
    assert described == set(CONTRACT)


@pytest.mark.parametrize("call", CONTRACT, ids=" ".join)
def test_a_call_tells_its_codes(schema: dict[str, Any], call: tuple[str, str]) -> None:
    responses = operation(schema, call)["responses"]
    problem = "application/json" if call[1].startswith("/v2") else "application/problem+json"
    assert {int(code) for code in responses} == CONTRACT[call]
    for code, response in responses.items():
        if int(code) >= 400:
            assert set(response["content"]) == {problem}


@pytest.mark.parametrize("call", CONTRACT, ids=" ".join)
def test_a_service_with_keys_tells_what_a_call_needs(
    locked: httpx.Client, locked_schema: dict[str, Any], call: tuple[str, str]
) -> None:
    need, told = EXPECTED[call], operation(locked_schema, call)
    scopes = [] if need == "any key" else [need]
    codes = {int(code) for code in told["responses"]}
    path, key = example(call[1]), {"Authorization": f"Bearer {KEY}"}
    if need == "nothing":
        assert "security" not in told
        assert codes == CONTRACT[call]
        assert locked.request(call[0], path).status_code != 401
        return
    assert told["security"] == [{"bearer": scopes}, {"header": scopes}]
    assert codes == CONTRACT[call] | {401, 429} | ({403} if scopes else set())
    assert locked.request(call[0], path).status_code == 401
    with_key = locked.request(call[0], path, headers=key)
    assert (with_key.status_code == 403) == (need not in {"any key", "predict"})
    assert with_key.status_code in codes
    for code in ("401", "429"):
        (media_type,) = told["responses"][code]["content"]
        expected = "application/json" if path.startswith("/v2") else "application/problem+json"
        assert media_type == expected


def test_keys_are_told_only_where_they_are_asked_for(
    schema: dict[str, Any], locked_schema: dict[str, Any]
) -> None:
    assert locked_schema["components"]["securitySchemes"].keys() == {"bearer", "header"}
    assert "securitySchemes" not in schema["components"]
    assert "security" not in operation(schema, ("POST", "/predict"))


@pytest.mark.parametrize("fixture", ["schema", "locked_schema"])
def test_every_reference_leads_somewhere(fixture: str, request: pytest.FixtureRequest) -> None:
    schema: dict[str, Any] = request.getfixturevalue(fixture)
    text = json.dumps(schema)
    for reference in set(re.findall(r'"\$ref": "#/([^"]+)"', text)):
        place: Any = schema
        for step in reference.split("/"):
            place = place[step]
        assert isinstance(place, dict)


def test_pictures_may_come_in_parts_or_as_the_body(schema: dict[str, Any]) -> None:
    content = operation(schema, ("POST", "/predict"))["requestBody"]["content"]
    assert {"multipart/form-data", "image/png", "image/jpeg", "image/webp"} <= set(content)


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_need_nobody_else(client: httpx.Client, page: str) -> None:
    text = client.get(page).text
    addresses = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=[\"']([^\"']+)", text)
    assert addresses
    for address in addresses:
        assert not re.match(r"(https?:)?//", address), address
        assert client.get(address).status_code == 200, address
