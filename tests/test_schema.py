"""The schema and the answers agree; `make hostile` asks for longer."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from models.store import Store
from tests.hostile.schema import check_schema
from tests.service import accepted, problem_of, running, settings_for
from tests.tiny import publish


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("schema")


@pytest.fixture(scope="module")
def ensemble(folder: Path) -> str:
    store = Store(folder / "store")
    id_ = publish(store).id
    store.serve(id_)
    return id_


@pytest.fixture(scope="module")
def client(folder: Path, ensemble: str, redis_url: str) -> Iterator[httpx.Client]:
    assert ensemble
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    with running(settings_for(folder, redis_url, max_unfinished_jobs=5)) as client:
        yield client


def test_no_answer_contradicts_the_schema_and_none_is_an_error_of_ours(
    client: httpx.Client, ensemble: str, folder: Path
) -> None:
    run = check_schema(client, ensemble, folder, examples=3, seed=1)
    assert run.findings == 0, run.report
    assert run.requests > 500
    counted = client.get("/metrics").text
    assert 'code="500"' not in counted
    for call in ('"GET",route="/ensembles/{id}"', '"POST",route="/jobs/distill"'):
        assert any(f'code="20{digit}",method={call}' in counted for digit in (0, 2)), call


def test_no_call_that_asks_for_a_key_is_answered_without_it(
    folder: Path, ensemble: str, redis_url: str
) -> None:
    key = "k" * 24
    settings = settings_for(folder, redis_url, api_keys=f"all:admin:{key}", max_unfinished_jobs=5)
    with running(settings) as client:
        run = check_schema(client, ensemble, folder, examples=2, seed=1, key=key)
        assert run.findings == 0, run.report
        headers = {"Authorization": f"Bearer {key}"}
        counted = client.get("/metrics", headers=headers).text
    answered = [
        line for line in counted.splitlines() if line.startswith("stillhouse_http_requests")
    ]
    assert any('code="200"' in line for line in answered)
    assert any('code="401"' in line for line in answered)


def test_events_are_refused_as_the_schema_says(client: httpx.Client) -> None:
    schema = client.get("/openapi.json").json()["paths"]["/jobs/{id}/events"]["get"]
    assert set(schema["responses"]["200"]["content"]) == {"text/event-stream"}
    problem_of(client.get(f"/jobs/{'0' * 32}/events"), 404, "job-not-found")
    for job in client.get("/jobs", params={"status": "queued"}).json()["jobs"]:
        client.delete(f"/jobs/{job['id']}")
    id_ = accepted(client)
    for header in ("", "x", "1", "1-", "-1-1", "1-1-1", "9" * 16 + "-0", "0-0\u00b2"):
        response = client.get(
            f"/jobs/{id_}/events", headers={b"Last-Event-ID": header.encode("latin-1")}
        )
        problem_of(response, 422, "invalid-request")
    client.delete(f"/jobs/{id_}")
    with client.stream("GET", f"/jobs/{id_}/events") as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "cancelled" in response.read().decode()


@pytest.mark.parametrize("timeout", ["", "0", "-1", "1.5", "x", "1e9", "600001", "1,1"])
def test_a_timeout_that_is_no_number_in_bounds_is_refused(
    client: httpx.Client, timeout: str
) -> None:
    response = client.post("/predict", headers={"X-Timeout-Ms": timeout})
    (error,) = problem_of(response, 422, "invalid-request")["errors"]
    assert error["field"] == "X-Timeout-Ms"
