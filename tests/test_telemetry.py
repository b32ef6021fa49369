"""What Prometheus is told."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from models.store import Store
from tests.service import parts, picture, running, settings_for, wait_until
from tests.tiny import publish

Labels = frozenset[tuple[str, str]]


@pytest.fixture
def client(tmp_path: Path, redis_url: str, store: Store) -> Iterator[httpx.Client]:
    store.serve(publish(store).id)
    with running(settings_for(tmp_path, redis_url)) as client:
        yield client


def samples(client: httpx.Client, name: str) -> dict[Labels, float]:
    """Return the values of one metric by their labels."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        frozenset(sample.labels.items()): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
        if sample.name == name
    }


def requests(client: httpx.Client) -> dict[tuple[str, ...], float]:
    counted = samples(client, "stillhouse_http_requests_total")
    return {
        tuple(dict(labels)[key] for key in ("method", "route", "code")): value
        for labels, value in counted.items()
    }


def test_requests_are_counted_by_route_and_code(client: httpx.Client) -> None:
    for id_ in ("0" * 32, "1" * 32, "nobody"):
        client.get(f"/jobs/{id_}")
    client.get("/healthz")
    client.post("/predict", content=b"")
    client.get("/nothing")
    client.delete("/predict")
    counted = requests(client)
    assert counted["GET", "/jobs/{id}", "404"] == 3
    assert counted["GET", "/healthz", "200"] == 1
    assert counted["POST", "/predict", "415"] == 1
    assert counted["GET", "none", "404"] == 1
    assert not [labels for labels in counted if "nobody" in labels[1]]


def test_a_large_body_is_counted_with_its_route(client: httpx.Client) -> None:
    client.post("/jobs/distill", content=bytes(100_000))
    assert requests(client)["POST", "/jobs/distill", "413"] == 1


def test_pictures_and_their_times_are_counted(client: httpx.Client) -> None:
    client.post("/predict", files=parts(picture(0), picture(1), picture(2)))
    for name, value in (
        ("stillhouse_pictures_total", 3),
        ("stillhouse_decode_seconds_count", 1),
    ):
        assert samples(client, name) == {frozenset(): value}
    # How many batches three pictures make is the batcher's affair.
    batches = samples(client, "stillhouse_batch_pictures_count")[frozenset()]
    for name, count in (
        ("stillhouse_engine_seconds_count", batches),
        ("stillhouse_queue_seconds_count", batches),
        ("stillhouse_batch_pictures_sum", 3),
        ("stillhouse_waiting_pictures", 0),
        ("stillhouse_degraded_pictures_total", 0),
    ):
        assert samples(client, name) == {frozenset(): count}
    assert samples(client, "stillhouse_members_used_sum") == {frozenset({("mode", "default")}): 6}
    (seconds,) = [
        value
        for labels, value in samples(client, "stillhouse_http_request_seconds_sum").items()
        if ("route", "/predict") in labels
    ]
    assert seconds > 0


def test_the_serving_ensemble_is_told(client: httpx.Client, store: Store) -> None:
    first = store.serving()
    second = publish(store, seed=1, members=3)
    name = "stillhouse_serving_ensemble_info"
    engine = ("engine", "openvino-float32")
    assert list(samples(client, name)) == [frozenset({("id", first), ("members", "2"), engine})]
    before = samples(client, "stillhouse_ensemble_swaps")
    client.put("/ensembles/serving", json={"ensemble": second.id})
    assert list(samples(client, name)) == [frozenset({("id", second.id), ("members", "3"), engine})]
    after = samples(client, "stillhouse_ensemble_swaps")
    assert after[frozenset()] == before[frozenset()] + 1


def test_unfinished_jobs_are_told(client: httpx.Client) -> None:
    name = "stillhouse_unfinished_jobs"
    assert samples(client, name) == {frozenset(): 0}
    id_ = client.post("/jobs/distill", json={}).json()["id"]
    assert samples(client, name) == {frozenset(): 1}
    client.delete(f"/jobs/{id_}")
    assert samples(client, name) == {frozenset(): 0}


@pytest.mark.parametrize("path", ["/predict", "/jobs/distill"])
def test_a_client_that_goes_away_is_no_failure_of_ours(client: httpx.Client, path: str) -> None:
    address = (client.base_url.host, client.base_url.port)
    with socket.create_connection(address) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n"
        type_ = "image/png" if path == "/predict" else "application/json"
        connection.sendall(f"{head}Content-Type: {type_}\r\n\r\n{{".encode())

    def counted() -> list[str]:
        return [code for _, route, code in requests(client) if route == path]

    wait_until(counted)
    assert counted() != ["500"]
