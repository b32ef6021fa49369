"""Ids that are no ids: nothing is read or written outside the store, and nothing fails oddly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from models.store import Store
from tests.service import PROBLEM, picture, running, settings_for
from tests.sockets import head, send
from tests.tiny import publish, write_dataset

HIDDEN = "what-nobody-may-read"

TRICKS = [
    "..",
    ".",
    "../secret",
    "../../secret",
    "..\\secret",
    "....//secret",
    "a/../../secret",
    "./secret",
    "~",
    "~root",
    "*",
    "%",
    "%2e%2e",
    "%2e%2e%2fsecret",
    "\0",
    "secret\0.json",
    "\r\nX-Injected: 1",
    "${HOME}",
    "file:///etc/passwd",
    "s3://bucket/a",
    "a" * 129,
    "a" * 8000,
    "\u2025/secret",
    "\uff0e\uff0e\uff0fsecret",
    "\u202e",
    "\U0001f600",
    "-rf",
    ".hidden",
    "CON",
    "nan",
    "serving.json",
    "0" * 31 + "\u0660",
    "0" * 32,
    "a" * 32 + "\n",
    "A" * 32,
]
NAMES = [name for name in TRICKS if name not in {"CON", "nan", "serving.json", "0" * 32, "A" * 32}]
"""Those that name nothing in any store: the others are fine, though nothing has them."""

PATHS = [
    ("GET", "/jobs/{}"),
    ("DELETE", "/jobs/{}"),
    ("GET", "/jobs/{}/events"),
    ("GET", "/ensembles/{}"),
    ("GET", "/ensembles/{}/report"),
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/{}/ready"),
    ("POST", "/v2/models/{}/infer"),
    ("GET", "/v2/models/serving/versions/{}"),
    ("POST", "/v2/models/serving/versions/{}/infer"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a trick would lead to, around the store and beside the data: a complete ensemble."""
    folder = tmp_path_factory.mktemp("ids")
    store = Store(folder / "store")
    manifest = publish(store)
    store.serve(manifest.id)
    outside = publish(Store(folder / "outside"), name=HIDDEN)
    write_dataset(folder / "secret", train=4)
    write_dataset(folder / "data" / "noise", train=8)
    for place in ("secret", "store/secret", "store/ensembles/.hidden"):
        (folder / place).mkdir(exist_ok=True, parents=True)
        manifest_file = folder / "outside" / "ensembles" / outside.id / "manifest.json"
        (folder / place / "manifest.json").write_bytes(manifest_file.read_bytes())
        (folder / place / "request.json").write_text(f'{{"id": "{HIDDEN}"}}')
        (folder / place / "report.json").write_text(f'{{"secret": "{HIDDEN}"}}')
    return folder


@pytest.fixture(scope="module")
def client(folder: Path, redis_url: str) -> Iterator[httpx.Client]:
    with running(settings_for(folder, redis_url)) as client:
        yield client


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(autouse=True)
def nothing_is_written(folder: Path) -> Iterator[None]:
    before = files_of(folder)
    yield
    after = files_of(folder)
    assert {name for name in after if "/engines/" not in name} == {
        name for name in before if "/engines/" not in name
    }
    assert all(after[name] == data for name, data in before.items())


def check_refused(response: httpx.Response, *statuses: int) -> None:
    assert response.status_code in statuses, response.text
    under_v2 = response.url.path == "/v2" or response.url.path.startswith("/v2/")
    told = "application/json" if under_v2 else PROBLEM
    assert response.headers["content-type"] == told
    assert HIDDEN not in response.text
    assert "x-injected" not in response.headers


@pytest.mark.parametrize(("method", "path"), PATHS, ids=map(" ".join, PATHS))
def test_no_path_leads_out_of_the_store(client: httpx.Client, method: str, path: str) -> None:
    for trick in TRICKS:
        once = quote(trick, safe="").replace(".", "%2e")  # the client would resolve dots
        for asked in {once, quote(once, safe=""), once.replace("%2F", "/")}:
            response = client.request(method, path.format(asked))
            # A path that has another one's shape, such as /jobs/../events, is that one.
            check_refused(response, 404, 405, 422)


RAW = [
    "/jobs/../../secret",
    "/ensembles/../secret",
    "//etc/passwd",
    "/ensembles/%2e%2e/%2e%2e/secret",
    "/ensembles/..%2f..%2fsecret",
    "/ensembles/..%5csecret",
    "/static-offline-docs/../app/service.py",
    "/static-offline-docs/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/static-offline-docs//etc/passwd",
    "/static-offline-docs/%00",
    f"/static-offline-docs/{'a' * 5000}",
    "http://service/secret",
]


@pytest.mark.parametrize("path", RAW, ids=lambda path: path[:30])
def test_paths_that_no_client_would_leave_as_they_are(client: httpx.Client, path: str) -> None:
    told = send(client, head("GET", path))
    assert (told.status, told.media_type) == (404, PROBLEM)
    assert b"root:" not in told.body


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:20])
def test_no_field_leads_out_of_the_store(client: httpx.Client, name: str) -> None:
    recipes: dict[str, dict[str, Any]] = {
        "dataset": {"dataset": name},
        "name": {"name": name},
        "teacher.ensemble": {"teacher": {"ensemble": name}},
        "teacher.0.ensemble": {"teacher": [{"ensemble": name}]},
    }
    for field, recipe in recipes.items():
        response = client.post("/jobs/distill", json={"dataset": "noise", **recipe})
        check_refused(response, 422)
        assert field in [error["field"] for error in response.json()["errors"]]
    check_refused(client.put("/ensembles/serving", json={"ensemble": name}), 422)


@pytest.mark.parametrize("name", ["secret", "nan", "CON", "serving.json", "a" * 64])
def test_names_of_nothing_are_not_found(client: httpx.Client, name: str) -> None:
    check_refused(client.put("/ensembles/serving", json={"ensemble": name}), 404)
    for recipe in ({"dataset": name}, {"teacher": {"ensemble": name}}):
        check_refused(client.post("/jobs/distill", json={"dataset": "noise", **recipe}), 422)


def test_no_query_or_header_leads_out_of_the_store(client: httpx.Client) -> None:
    for trick in TRICKS:
        check_refused(client.get("/jobs", params={"cursor": trick}), 404, 422)
        check_refused(client.get("/jobs", params={"status": trick}), 422)
        check_refused(client.post("/predict", params={"mode": trick}), 422)
        quoted = trick.translate(dict.fromkeys(b"\0\r\n")).encode()
        response = client.get(f"/jobs/{'0' * 32}/events", headers={b"Last-Event-ID": quoted})
        check_refused(response, 404, 422)


def test_names_of_pictures_are_only_quoted(client: httpx.Client) -> None:
    for trick in TRICKS:
        response = client.post("/predict", files=[("file", (trick, picture()))])
        assert response.status_code in {200, 422}
        assert "x-injected" not in response.headers
