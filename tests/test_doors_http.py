"""A service with keys lets in who has one that allows the call, before it reads anything."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from app.doors import CheckKeys
from app.keys import read_keyring
from app.service import create_app
from app.telemetry import Telemetry
from models.store import Store
from tests.service import parts, picture, problem_of, running, settings_for
from tests.test_scopes import EXPECTED, example
from tests.test_telemetry import samples
from tests.tiny import publish

KEYS = {name: f"{name}.{name * 4}-of-a-test" for name in ("predict", "train", "admin")}
ENTRIES = " ".join(f"{name}-only:{name}:{key}" for name, key in KEYS.items())


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[name]}"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    folder: Path = tmp_path_factory.mktemp("doors")
    store = Store(folder / "store")
    store.serve(publish(store).id)
    with running(settings_for(folder, redis_url, api_keys=ENTRIES)) as client:
        yield client


def allowed(need: str) -> set[str]:
    if need == "nothing":
        return {"", *KEYS}
    return {*KEYS} if need == "any key" else {need, "admin"}


# Pages look at the key in a cookie, and at who sends a form: tests/test_pages.py.
CALLS = [call for call in EXPECTED if not call[1].startswith("/pages/")]


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_only_keys_with_the_scope_are_let_in(client: httpx.Client, call: tuple[str, str]) -> None:
    method, path = call[0], example(call[1])
    let_in = set()
    for name in ("", *KEYS):
        headers = bearer(name) if name else {}
        response = client.request(method, path, headers=headers)
        if response.status_code not in {401, 403}:
            let_in.add(name)
        else:
            assert response.status_code == (403 if name else 401)
    assert let_in == allowed(EXPECTED[call])


def test_without_a_key_it_is_said_how_to_send_one(client: httpx.Client) -> None:
    response = client.post("/predict", files=parts(picture()))
    told = problem_of(response, 401, "key-needed")
    assert "Authorization: Bearer" in told["detail"]
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="stillhouse"'


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer " + KEYS["predict"][:-1]},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer \xe9".encode("latin-1")},
        {"X-API-Key": "predict-only"},
        {"Authorization": "Bearer nobodys", "X-API-Key": KEYS["predict"]},
    ],
    ids=["cut off", "empty", "no ASCII", "a name", "the first counts"],
)
def test_a_key_that_nobody_has_is_refused(client: httpx.Client, headers: dict[str, str]) -> None:
    response = client.get("/classes", headers=headers)
    problem_of(response, 401, "key-needed")
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    "headers",
    [
        bearer("predict"),
        {"authorization": f"bearer  {KEYS['predict']}"},
        {"X-API-Key": KEYS["predict"]},
        {"Authorization": "Basic eDp5", "X-API-Key": KEYS["predict"]},
    ],
    ids=["bearer", "small letters", "X-API-Key", "of a proxy"],
)
def test_a_key_is_sent_in_either_header(client: httpx.Client, headers: dict[str, str]) -> None:
    assert client.post("/predict", files=parts(picture()), headers=headers).is_success


def test_a_key_without_the_scope_is_refused(client: httpx.Client) -> None:
    response = client.post("/jobs/distill", json={}, headers=bearer("predict"))
    told = problem_of(response, 403, "scope-needed")
    assert "'train'" in told["detail"]
    assert "'predict-only'" in told["detail"]
    assert 'error="insufficient_scope", scope="train"' in response.headers["WWW-Authenticate"]
    assert client.get("/jobs", headers=bearer("train")).json()["jobs"] == []


def test_clients_of_the_protocol_are_told_in_its_way(client: httpx.Client) -> None:
    for headers, status in (({}, 401), (bearer("train"), 403)):
        response = client.get("/v2/models/serving", headers=headers)
        assert response.status_code == status
        assert response.json().keys() == {"error"}


@pytest.mark.parametrize("path", ["/predict", "/v2/models/serving/infer", "/jobs/distill", "/x"])
def test_nothing_is_read_of_who_is_not_let_in(client: httpx.Client, path: str) -> None:
    with socket.create_connection((client.base_url.host, client.base_url.port), 10) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
        connection.sendall(head.encode())  # and not a byte of the body
        assert connection.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_names_and_not_keys_are_counted_and_logged(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    admin = httpx.Client(base_url=client.base_url, headers=bearer("admin"))
    name = "stillhouse_key_requests_total"
    refused = "stillhouse_rejected_requests_total"
    with admin, caplog.at_level(logging.DEBUG):
        before, refusals = samples(admin, name), samples(admin, refused)
        client.get("/classes", headers=bearer("predict"))
        client.get("/jobs", headers=bearer("predict"))
        client.get("/jobs", headers={"X-API-Key": "a-key-that-nobody-has"})
        after, more = samples(admin, name), samples(admin, refused)
        text = admin.get("/metrics").text
    of = frozenset({("key", "predict-only")})
    assert after[of] == before[of] + 2
    for reason in ("key-needed", "scope-needed"):
        labels = frozenset({("reason", reason)})
        assert more[labels] == refusals.get(labels, 0) + 1
    logged = "\n".join(record.getMessage() for record in caplog.records if "app" in record.name)
    assert "'predict-only'" in logged
    for secret in (*KEYS.values(), "a-key-that-nobody-has"):
        assert secret not in logged
        assert secret not in text


def test_a_key_is_used_only_so_often(tmp_path: Path, redis_url: str) -> None:
    settings = settings_for(tmp_path, redis_url, api_keys=ENTRIES, max_key_requests_per_second=0.01)
    with running(settings) as client:
        assert client.get("/ensembles", headers=bearer("predict")).is_success
        response = client.get("/ensembles", headers=bearer("predict"))
        problem_of(response, 429, "too-many-requests")
        assert 90 < int(response.headers["Retry-After"]) <= 100
        other = client.get("/jobs", headers=bearer("train"))  # has tokens of its own
        probe = client.get("/healthz", headers=bearer("predict"))
    assert other.is_success
    assert probe.is_success


def test_what_is_no_http_is_let_in_by_no_key(tmp_path: Path, redis_url: str) -> None:
    reached: list[Scope] = []

    async def inside(scope: Scope, _: Receive, __: Send) -> None:
        reached.append(scope)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    keyring = read_keyring(settings_for(tmp_path, redis_url, api_keys=ENTRIES))
    assert keyring is not None
    door = CheckKeys(inside, keyring, Telemetry(), max_per_second=None)
    key = [(b"authorization", f"Bearer {KEYS['admin']}".encode())]
    asyncio.run(door({"type": "websocket", "path": "/", "headers": key}, receive, send))
    assert (reached, sent) == ([], [{"type": "websocket.close", "code": 1008}])


def test_without_keys_nobody_stands_at_the_door(tmp_path: Path, redis_url: str) -> None:
    without = create_app(settings_for(tmp_path, redis_url))
    assert "CheckKeys" not in str(without.user_middleware)
    assert "CheckKeys" in str(
        create_app(settings_for(tmp_path, redis_url, api_keys=ENTRIES)).user_middleware
    )
