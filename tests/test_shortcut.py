"""POST /predict goes around the framework's stack, and nobody can tell but by the clock."""

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from app.shortcut import Shortcut
from models.store import Store
from tests.service import picture, problem_of, running, settings_for
from tests.tiny import publish


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("shortcut")
    store = Store(folder / "store")
    store.serve(publish(store).id)
    with running(settings_for(folder, redis_url)) as client:
        yield client


def application() -> FastAPI:
    """Answer "here" at /here, and at /there "there" where it is a POST, by the shortcut."""
    app = FastAPI()

    @app.api_route("/{place}", methods=["GET", "POST"])
    def here(place: str) -> Response:
        return PlainTextResponse(f"framework: {place}")

    @app.exception_handler(ValueError)
    async def known(_: Request, error: ValueError) -> Response:
        return PlainTextResponse(f"handled: {error}", 418)

    async def there(request: Request) -> Response:
        if body := await request.body():
            raise KeyError(body) if body == b"unknown" else ValueError(body.decode())
        return PlainTextResponse("shortcut")

    app.add_middleware(Shortcut, application=app, path="/there", endpoint=there)
    return app


def asked(method: str, path: str, body: bytes = b"", *, raises: bool = True) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(application(), raise_app_exceptions=raises)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.request(method, path, content=body)

    return asyncio.run(ask())


def test_only_a_post_to_the_path_goes_around() -> None:
    assert asked("POST", "/there").text == "shortcut"
    assert asked("GET", "/there").text == "framework: there"
    assert asked("POST", "/here").text == "framework: here"


def test_errors_are_answered_by_the_applications_handlers() -> None:
    response = asked("POST", "/there", b"bad")
    assert (response.status_code, response.text) == (418, "handled: bad")


def test_an_error_without_a_handler_is_not_swallowed() -> None:
    with pytest.raises(KeyError):
        asked("POST", "/there", b"unknown")
    assert asked("POST", "/there", b"unknown", raises=False).status_code == 500


def test_the_call_is_documented_and_takes_no_other_method(client: httpx.Client) -> None:
    assert "post" in client.get("/openapi.json").json()["paths"]["/predict"]
    problem_of(client.get("/predict"), 405, "method-not-allowed")


def test_what_is_refused_is_still_a_problem(client: httpx.Client) -> None:
    headers = {"content-type": "image/png"}
    damaged = client.post("/predict", content=b"no picture", headers=headers)
    problem_of(damaged, 422, "unreadable-picture")
    many = client.post("/predict?top_k=0", content=picture(), headers=headers)
    problem_of(many, 422, "invalid-request")


def test_full_collections_have_little_to_look_at(client: httpx.Client) -> None:
    assert client.get("/readyz").is_success
    assert gc.get_freeze_count() > len(gc.get_objects())
