"""Errors under /v2: any other call's status, and the body that clients of the protocol read."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
import tritonclient.http as triton
from fastapi import FastAPI

from app.problems import install
from models.errors import StillhouseError, TooBusy
from models.store import Store
from tests.service import problem_of, running, settings_for
from tests.tensors import error_of, images, stock_client, tensor, told
from tests.tiny import publish

LIMITS = {"max_pictures_per_request": 4, "max_request_bytes": 100_000, "max_recipe_bytes": 5_000}
INFER = "/v2/models/serving/infer"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("v2")
    store = Store(folder / "store")
    store.serve(publish(store).id)
    with running(settings_for(folder, redis_url, **LIMITS)) as client:
        yield client


@pytest.fixture(scope="module")
def stock(client: httpx.Client) -> Iterator[triton.InferenceServerClient]:
    with stock_client(client) as stock:
        yield stock


def test_a_malformed_request_is_told_why_and_harms_nobody(
    stock: triton.InferenceServerClient,
) -> None:
    wrong = triton.InferInput("pictures", [1, 32, 32, 3], "UINT8").set_data_from_numpy(images(1))
    good = tensor(images(2))
    waiting = [stock.async_infer("serving", [wrong if n % 2 else good]) for n in range(8)]
    for n, request in enumerate(waiting):
        if n % 2:
            why = told(request.get_result, 400)
            assert why == ("The request is malformed: inputs.0.name: Input should be 'images'")
        else:
            assert request.get_result().as_numpy("entropy").shape == (2,)


@pytest.mark.parametrize("binary", [False, True])
def test_too_many_pictures_are_refused(stock: triton.InferenceServerClient, binary: bool) -> None:
    most = stock.infer("serving", [tensor(images(4), binary=binary)])
    assert most.as_numpy("entropy").shape == (4,)
    why = told(lambda: stock.infer("serving", [tensor(images(5), binary=binary)]), 400)
    assert "n from 1 to 4" in why


@pytest.mark.parametrize(
    ("body", "length"),
    [
        (b"", None),
        (b"\xff", None),
        (b"[" * 50_000, None),
        (b"{}", "NaN"),
        (b"{}", "-2"),
        (b"{}", "3"),
        (b"{}", "\u0662"),
    ],
    ids=range(7),
)
def test_bodies_that_are_no_request_are_refused(
    client: httpx.Client, body: bytes, length: str | None
) -> None:
    headers = {} if length is None else {b"Inference-Header-Content-Length": length.encode()}
    error_of(client.post(INFER, content=body, headers=headers), 400)


def test_what_a_client_sent_is_quoted_also_where_it_is_no_text(client: httpx.Client) -> None:
    path = "/v2/models/%ed%a0%80%ff\u00e9%22/ready"
    assert "serving" in error_of(client.get(path), 404)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_of_pictures_may_be_larger_than_a_recipe_but_not_too_large(
    client: httpx.Client, chunked: bool
) -> None:
    pieces = [bytes(10_000)] * 11
    for path in (INFER, "/v2/models/serving/versions/1/infer"):
        content = iter(pieces) if chunked else b"".join(pieces)
        assert "100000" in error_of(client.post(path, content=content), 413)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity"])
def test_compressed_bodies_are_refused(client: httpx.Client, encoding: str) -> None:
    response = client.post(INFER, content=b"{}", headers={"Content-Encoding": encoding})
    assert repr(encoding) in error_of(response, 415)


def test_triton_is_told_that_compression_is_not_taken(stock: triton.InferenceServerClient) -> None:
    inputs = [tensor(images(1))]
    why = told(lambda: stock.infer("serving", inputs, request_compression_algorithm="gzip"), 415)
    assert "'gzip'" in why
    result = stock.infer("serving", inputs, response_compression_algorithm="gzip")
    assert result.as_numpy("entropy").shape == (1,)


def test_an_answer_that_would_come_too_late_is_not_waited_for(
    client: httpx.Client, stock: triton.InferenceServerClient
) -> None:
    inputs = [tensor(images(1))]
    assert stock.infer("serving", inputs, timeout=60_000_000).as_numpy("entropy").shape == (1,)
    body, json_bytes = stock.generate_request_body(inputs, timeout=1)
    headers = {"Inference-Header-Content-Length": str(json_bytes)}
    response = client.post(INFER, content=body, headers=headers)
    error_of(response, response.status_code)
    assert response.status_code in {429, 504}
    refusals = [
        float(line.split()[-1])
        for line in client.get("/metrics").text.splitlines()
        if line.startswith("stillhouse_rejected_requests_total")
    ]
    assert sum(refusals) == 1


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models", 404),
        ("GET", "/v2/models/serving/config", 404),
        ("POST", "/v2", 405),
        ("DELETE", "/v2/health/live", 405),
        ("GET", INFER, 405),
    ],
)
def test_paths_and_methods_that_are_not_there(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    response = client.request(method, path)
    assert error_of(response, status)
    assert ("allow" in response.headers) == (status == 405)


def test_other_paths_are_told_problems_as_before(client: httpx.Client) -> None:
    problem_of(client.get("/v2nothing"), 404, "no-such-path")
    problem_of(client.get("/predict"), 405, "method-not-allowed")


@pytest.mark.parametrize(
    ("error", "status", "said", "headers"),
    [
        (TooBusy("12 wait", 3.2), 429, "Too much work is waiting: 12 wait", {"retry-after": "4"}),
        (StillhouseError("away"), 503, "The service cannot do this now: away", {}),
        (
            KeyError("secret"),
            500,
            "Something nobody expected happened: the service's log has it",
            {},
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_is_raised_under_v2(
    error: Exception, status: int, said: str, headers: dict[str, str]
) -> None:
    app = FastAPI()
    install(app)

    @app.get("/v2/models/{number}")
    async def fail(number: int) -> None:
        assert number
        raise error

    async def get(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return await client.get(path)

    response = asyncio.run(get("/v2/models/1"))
    assert error_of(response, status) == said
    assert headers.items() <= response.headers.items()
    assert "number: " in error_of(asyncio.run(get("/v2/models/one")), 422)
