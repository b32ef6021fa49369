"""Every answer tells browsers what not to do with it; other origins are let in by name only."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.headers import PAGES
from app.service import create_app
from tests.service import accepted, problem_of, running, settings_for

FRIEND, STRANGER = "https://friend.example", "https://stranger.example"
KEY = "a-key-for-the-friends-page"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    """A service that asks for no key and names no other origin."""
    with running(settings_for(tmp_path_factory.mktemp("headers"), redis_url)) as client:
        yield client


@pytest.fixture(scope="module")
def friendly(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    """A service with a key that pages of one other origin may call."""
    folder: Path = tmp_path_factory.mktemp("friendly")
    fields = {"cors_origins": FRIEND, "api_keys": f"page:train:{KEY}"}
    with running(settings_for(folder, redis_url, **fields)) as client:
        yield client


def is_guarded(response: httpx.Response) -> bool:
    headers = response.headers
    policy = headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'self'" in policy
    return (
        headers["X-Content-Type-Options"],
        headers["X-Frame-Options"],
        headers["Referrer-Policy"],
        headers["Cross-Origin-Resource-Policy"],
    ) == ("nosniff", "DENY", "no-referrer", "same-origin")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/ensembles", 200),
        ("GET", "/docs", 200),
        ("GET", "/openapi.json", 200),
        ("GET", "/metrics", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/predict", 405),
        ("POST", "/predict", 415),
        ("POST", "/v2/models/nobody/infer", 404),
    ],
)
def test_every_answer_is_guarded(client: httpx.Client, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert is_guarded(response)
    assert response.headers["Cache-Control"] == "no-store"


def test_answers_at_the_door_are_guarded(friendly: httpx.Client) -> None:
    response = friendly.get("/jobs")
    problem_of(response, 401, "key-needed")
    assert is_guarded(response)
    assert response.headers["Cache-Control"] == "no-store"


def test_a_defect_of_ours_is_guarded(tmp_path: Path, redis_url: str) -> None:
    application = create_app(settings_for(tmp_path, redis_url))

    @application.get("/broken")
    async def fail() -> None:
        raise KeyError

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.get("/broken")

    response = asyncio.run(ask())
    problem_of(response, 500, "internal-error")
    assert is_guarded(response)
    assert response.headers["Cache-Control"] == "no-store"


def test_files_and_events_say_themselves_how_long_they_are_good_for(client: httpx.Client) -> None:
    file = client.get("/static-offline-docs/swagger-ui.css")
    assert is_guarded(file)
    assert "Cache-Control" not in file.headers
    assert client.get(file.url, headers={"If-None-Match": file.headers["ETag"]}).status_code == 304
    id_ = accepted(client)
    client.delete(f"/jobs/{id_}")
    events = client.get(f"/jobs/{id_}/events")
    assert is_guarded(events)
    assert events.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("page", sorted(PAGES))
def test_scripts_inside_a_page_run_only_in_the_frameworks_own(
    client: httpx.Client, page: str
) -> None:
    response = client.get(page)
    assert re.search(r"<script[^>]*>[^<]", response.text)
    assert "script-src 'self' 'unsafe-inline'" in response.headers["Content-Security-Policy"]
    assert is_guarded(response)
    elsewhere = client.get("/nothing").headers["Content-Security-Policy"]
    assert "script-src" not in elsewhere


@pytest.mark.parametrize("path", ["/", "/pages/sign-in", "/pages/static/page.js", "/pages/nothing"])
def test_our_own_pages_run_nothing_that_stands_inside_them(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers
    policy = dict(
        part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'self'"
    assert policy["form-action"] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert policy.keys().isdisjoint({"script-src", "style-src"})
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "same-origin"
    assert "camera=(self)" in headers["Permissions-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def preflight(client: httpx.Client, origin: str, headers: str = "authorization") -> httpx.Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": headers,
    }
    return client.options("/jobs/distill", headers=asked)


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}])
def test_a_page_of_another_origin_cannot_post_a_recipe_unasked(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    # A browser sends these types without asking first, so JSON must come as what it is.
    before = client.get("/jobs").json()
    response = client.post("/jobs/distill", content=b"{}", headers={"Origin": STRANGER, **headers})
    assert 400 <= response.status_code < 500
    assert client.get("/jobs").json() == before


def test_no_other_origin_is_let_in_by_default(client: httpx.Client) -> None:
    assert preflight(client, FRIEND).status_code == 405
    answer = client.get("/ensembles", headers={"Origin": FRIEND})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_origin_that_is_named_is_let_in_and_no_other(friendly: httpx.Client) -> None:
    asked = preflight(friendly, FRIEND, "authorization, idempotency-key, content-type")
    assert asked.status_code == 200  # without a key, which a browser does not send with it
    assert asked.headers["Access-Control-Allow-Origin"] == FRIEND
    answer = friendly.get("/jobs", headers={"Origin": FRIEND, "Authorization": f"Bearer {KEY}"})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == FRIEND
    assert "Location" in answer.headers["Access-Control-Expose-Headers"]
    refused = friendly.get("/jobs", headers={"Origin": FRIEND})  # readable for the page as well
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == FRIEND
    assert preflight(friendly, STRANGER).status_code == 400
    other = friendly.get("/healthz", headers={"Origin": STRANGER})
    assert "Access-Control-Allow-Origin" not in other.headers
    assert "Access-Control-Allow-Credentials" not in answer.headers
