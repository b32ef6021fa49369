"""POST /predict: how exactly, how soon, with which doubt, and what if there is no time."""

import math
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.cascade import CascadeFigures, CascadeFit
from models.ensemble import EnsembleManifest
from models.store import Store
from tests.service import ask, parts, picture, problem_of, running, settings_for, wait_until
from tests.tiny import COLOURS, doubt, publish

MANY = [picture(seed) for seed in range(256)]
"""Of so many an answer takes some tenths of a second."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("modes")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> EnsembleManifest:
    store = Store(folder / "store")
    manifest = publish(store, members=3, doubt=doubt())
    publish(store, seed=1)
    store.serve(manifest.id)
    return manifest


@pytest.fixture(scope="module")
def client(folder: Path, manifest: EnsembleManifest, redis_url: str) -> Iterator[httpx.Client]:
    assert manifest  # is published before the service starts
    with running(settings_for(folder, redis_url)) as client:
        yield client


@pytest.fixture
def fresh(folder: Path, manifest: EnsembleManifest, redis_url: str) -> Iterator[httpx.Client]:
    """A service that lets one picture wait, and has measured nothing yet."""
    assert manifest
    with running(settings_for(folder, redis_url, max_waiting_pictures=1)) as client:
        yield client


def post(client: httpx.Client, files: list[bytes], **query: Any) -> httpx.Response:
    return client.post("/predict", files=parts(*files), params=query)


@pytest.mark.parametrize("mode", ["default", "exact", "cascade", "fast"])
def test_an_answer_names_its_mode_and_its_engine(client: httpx.Client, mode: str) -> None:
    answer = post(client, [picture()], mode=mode).json()
    assert answer["mode"] == mode
    if mode != "fast":  # for which the fastest may be any
        assert answer["engine"] == "openvino-float32"


def test_only_the_members_that_a_cascade_asked_tell_their_votes(
    tmp_path: Path, redis_url: str
) -> None:
    figures = CascadeFigures(400, 1.0, 0.0, 0.0, 1.0)
    at_once = asdict(CascadeFit((0.0,) * 5, (figures, figures)))
    store = Store(tmp_path / "store")
    store.serve(publish(store, members=6, doubt={**doubt(), "cascade": at_once}).id)
    with running(settings_for(tmp_path, redis_url)) as client:
        (prediction,) = ask(client, picture(), mode="cascade", votes=True)["predictions"]
    assert len(prediction["votes"]) == prediction["members_used"] < 6


def test_the_mode_is_the_default_one_unless_told(client: httpx.Client) -> None:
    assert ask(client, picture())["mode"] == "default"


def test_another_mode_can_be_the_deployments_own(
    folder: Path, manifest: EnsembleManifest, redis_url: str
) -> None:
    assert manifest
    with running(settings_for(folder, redis_url, predict_mode="exact")) as client:
        assert ask(client, picture())["mode"] == "exact"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"mode": "quick"}, "mode"),
        ({"conformal": "0"}, "conformal"),
        ({"conformal": "1"}, "conformal"),
        ({"conformal": "nan"}, "conformal"),
        ({"max_members": "0"}, "max_members"),
        ({"top_k": "many"}, "top_k"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused_by_field(
    client: httpx.Client, query: dict[str, str], field: str
) -> None:
    problem = problem_of(post(client, [picture()], **query), 422, "invalid-request")
    assert [each["field"] for each in problem["errors"]] == [field]


@pytest.mark.parametrize("timeout", ["0", "-5", "soon", "1e99", "700000"])
def test_a_timeout_that_makes_no_sense_is_refused(client: httpx.Client, timeout: str) -> None:
    headers = {"X-Timeout-Ms": timeout}
    response = client.post("/predict", files=parts(picture()), headers=headers)
    assert "X-Timeout-Ms" in problem_of(response, 422, "invalid-request")["detail"]


def test_a_conformal_set_begins_with_the_answer_and_grows_with_its_rate(
    client: httpx.Client,
) -> None:
    assert ask(client, picture())["predictions"][0]["conformal_set"] is None
    sizes = []
    for rate in (0.5, 0.9, 0.99):
        answer = post(client, MANY[:20], conformal=rate).json()
        sets = [prediction["conformal_set"] for prediction in answer["predictions"]]
        for prediction, classes in zip(answer["predictions"], sets, strict=True):
            assert classes[0]["label"] == prediction["label"]
            probabilities = [each["probability"] for each in classes]
            assert probabilities == sorted(probabilities, reverse=True)
        sizes.append(sum(map(len, sets)))
    assert sizes == sorted(sizes)
    assert 20 <= sizes[0] < sizes[-1] <= 20 * len(COLOURS)


def test_sets_are_refused_where_the_ensemble_has_none(tmp_path: Path, redis_url: str) -> None:
    store = Store(tmp_path / "store")
    store.serve(publish(store).id)
    with running(settings_for(tmp_path, redis_url)) as client:
        problem = problem_of(post(client, [picture()], conformal=0.9), 422, "invalid-request")
        assert problem["errors"][0]["field"] == "conformal"
        assert ask(client, picture())["predictions"][0]["uncertainty"]["outside"] is None


def test_a_picture_more_doubtful_than_most_is_said_to_be_outside(
    client: httpx.Client, manifest: EnsembleManifest
) -> None:
    assert manifest.doubt is not None
    threshold = manifest.doubt["outside"]["threshold"]
    for prediction in post(client, MANY[:20]).json()["predictions"]:
        uncertainty = prediction["uncertainty"]
        assert uncertainty["outside"] == (uncertainty["entropy"] > threshold)


def test_an_ensemble_tells_its_engines_while_it_serves(
    client: httpx.Client, manifest: EnsembleManifest
) -> None:
    listed = [each["id"] for each in client.get("/ensembles").json()["ensembles"]]
    found = {id_: client.get(f"/ensembles/{id_}").json()["engines"] for id_ in listed}
    engines = found.pop(manifest.id)
    assert engines["default"] == engines["exact"] == "openvino-float32"
    assert engines["seconds"]["openvino-float32"] > 0
    assert "openvino-int8" in engines["reasons"]
    assert set(found.values()) == {None}


def test_an_answer_that_comes_too_late_is_given_up(fresh: httpx.Client) -> None:
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(post, fresh, MANY)
        wait_until(lambda: sample(fresh, "stillhouse_batch_pictures_count") > 0)
        headers = {"X-Timeout-Ms": "1"}
        late = fresh.post("/predict", files=parts(picture()), headers=headers)
        assert late.status_code in {429, 504}, late.text
        assert long.result().status_code == 200
    assert sample(fresh, "stillhouse_rejected_requests_total") == 1


def test_when_too_many_wait_the_next_is_told_when_to_come_back(fresh: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: post(fresh, MANY), range(8)))
    refused = [response for response in responses if response.status_code != 200]
    assert 0 < len(refused) < 8
    for response in refused:
        problem_of(response, 429, "too-busy")
        assert int(response.headers["Retry-After"]) >= 1
    for response in responses:
        if response.status_code == 200:
            assert len(response.json()["predictions"]) == len(MANY)


@pytest.mark.parametrize("path", ["/predict", "/v2/models/serving/infer"])
def test_who_is_refused_need_not_have_sent_the_body(fresh: httpx.Client, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Type: image/png\r\n"
    address = (fresh.base_url.host, fresh.base_url.port or 80)

    def refused() -> bool:
        with socket.create_connection(address) as raw:
            raw.settimeout(0.2)
            raw.sendall(f"{head}Content-Length: 1000\r\n\r\n".encode())
            with suppress(TimeoutError):  # while nothing waits the body is waited for
                return raw.recv(1000).startswith(b"HTTP/1.1 429 ")
            return False

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(post, fresh, MANY) for _ in range(16)]
        wait_until(refused, seconds=30)
    assert 200 in {each.result().status_code for each in asking}
    assert sample(fresh, "stillhouse_rejected_requests_total") >= 1


def test_pictures_of_a_client_that_hung_up_are_not_computed(client: httpx.Client) -> None:
    before = sample(client, "stillhouse_pictures_total")
    request = client.build_request("POST", "/predict", files=parts(*MANY))
    head = (
        f"POST /predict HTTP/1.1\r\nHost: here\r\nContent-Type: {request.headers['Content-Type']}"
    )
    body = request.read()
    gone = sample(client, "stillhouse_http_requests_total", code="499")
    for _ in range(4):
        with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as raw:
            raw.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    wait_until(lambda: sample(client, "stillhouse_http_requests_total", code="499") == gone + 4)
    wait_until(lambda: sample(client, "stillhouse_waiting_pictures") == 0)
    computed = sample(client, "stillhouse_pictures_total") - before
    assert computed < 4 * len(MANY) / 2
    assert ask(client, picture())["predictions"]


def sample(client: httpx.Client, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return math.fsum(
        float(line.rsplit(" ", 1)[1])
        for line in client.get("/metrics").text.splitlines()
        if line.startswith((f"{name} ", f"{name}{{")) and all(each in line for each in wanted)
    )
