"""Each request has an id: in its answer, in every line that is logged for it, and in its job."""

import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from redis import Redis

from app.jobs import Jobs
from app.logs import printer
from app.service import create_app
from models.store import Store
from tests.service import accepted, finish, post, problem_of, running, settings_for, wait_until
from tests.sockets import connection, head
from tests.tiny import publish

OURS = re.compile(r"[0-9a-f]{32}")
THEIRS = "Order_66.of-today"
NAMED = {"X-Request-ID": THEIRS}


@contextmanager
def printed(log_format: str) -> Iterator[io.StringIO]:
    """Give what the service prints meanwhile."""
    stream = io.StringIO()
    handler = printer(log_format, stream)
    handler.addFilter(lambda record: record.name.split(".")[0] in {"app", "uvicorn"})
    log, before = logging.root, logging.root.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        log.setLevel(before)
        log.removeHandler(handler)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    """A service that cannot answer pictures, and lets pages of one other origin in."""
    folder = tmp_path_factory.mktemp("request-ids")
    store = Store(folder / "store")
    store.serve(publish(store).id)
    next((folder / "store").rglob("manifest.json")).write_bytes(b"{")
    settings = settings_for(folder, redis_url, cors_origins="https://a.example")
    with running(settings) as client:
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/readyz", 503),
        ("POST", "/predict", 503),
        ("GET", "/nothing", 404),
        ("PUT", "/predict", 405),
        ("GET", "/v2/health/ready", 503),
        ("GET", "/docs", 200),
        ("GET", "/static-offline-docs/swagger-ui.css", 200),
    ],
)
def test_every_answer_has_an_id_of_its_own(
    service: httpx.Client, method: str, path: str, status: int
) -> None:
    one, other = (service.request(method, path) for _ in range(2))
    assert one.status_code == other.status_code == status
    assert OURS.fullmatch(one.headers["X-Request-ID"])
    assert one.headers["X-Request-ID"] != other.headers["X-Request-ID"]


@pytest.mark.parametrize("theirs", [THEIRS, "1", "a" * 64])
def test_a_client_may_name_its_request(service: httpx.Client, theirs: str) -> None:
    response = service.get("/healthz", headers={"X-Request-ID": theirs})
    assert response.headers.get_list("X-Request-ID") == [theirs]


@pytest.mark.parametrize("theirs", ["", "a" * 65, "a b", 'a"b', "a\tb", "a%0d", "[a]", "ä", "a/b"])
def test_a_name_that_could_be_misread_is_replaced(service: httpx.Client, theirs: str) -> None:
    response = service.get("/healthz", headers={b"X-Request-ID": theirs.encode()})
    assert OURS.fullmatch(response.headers["X-Request-ID"])


def test_of_several_names_the_first_that_is_safe_counts(service: httpx.Client) -> None:
    named = [("X-Request-ID", "a b"), ("X-Request-ID", "second"), ("X-Request-ID", "third")]
    assert service.get("/healthz", headers=named).headers["X-Request-ID"] == "second"


def test_pages_of_another_origin_may_send_and_read_it(service: httpx.Client) -> None:
    origin = {"Origin": "https://a.example"}
    asked = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "x-request-id",
    }
    preflight = service.options("/healthz", headers=origin | asked)
    assert preflight.status_code == 200
    assert preflight.headers["X-Request-ID"]
    exposed = service.get("/healthz", headers=origin).headers["Access-Control-Expose-Headers"]
    assert "X-Request-ID" in exposed.split(", ")


def test_a_refusal_of_the_connection_itself_has_one(service: httpx.Client) -> None:
    with connection(service) as connected, connected.makefile("rb") as file:
        connected.sendall(head(Content_Length=1, Connection="upgrade", Upgrade="h2c"))
        answer = file.read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert re.search(rb"\r\nx-request-id: [0-9a-f]{32}\r\n", answer)


def test_problems_that_are_ours_name_the_request(service: httpx.Client) -> None:
    problem = problem_of(service.get("/readyz", headers=NAMED), 503, "no-ensemble")
    assert problem["request_id"] == THEIRS
    assert THEIRS in service.get("/v2/models/serving", headers=NAMED).json()["error"]


def test_problems_of_the_client_do_not(service: httpx.Client) -> None:
    assert "request_id" not in problem_of(service.get("/nothing"), 404, "no-such-path")


def test_what_nobody_expected_names_the_request_too(tmp_path: Path, redis_url: str) -> None:
    settings = settings_for(tmp_path, redis_url)
    application = create_app(settings)

    @application.get("/broken")
    async def fail() -> None:
        raise KeyError

    with running(settings, application) as client, printed("json") as stream:
        response = client.get("/broken", headers=NAMED)
        wait_until(stream.getvalue)  # it is answered before it is logged
    assert response.headers["X-Request-ID"] == THEIRS
    assert problem_of(response, 500, "internal-error")["request_id"] == THEIRS
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert "KeyError" in line["exc_info"]
    assert line["request"] == THEIRS


def test_what_is_logged_for_a_request_has_its_id(client: httpx.Client, jobs: Jobs) -> None:
    with printed("json") as stream:
        id_ = post(client, headers=NAMED).json()["id"]  # answered in a thread
        finish(jobs, id_)
    accepted, *others = map(json.loads, stream.getvalue().splitlines())
    assert (accepted["request"], accepted["job"], accepted["status"]) == (THEIRS, id_, "queued")
    assert [line["status"] for line in others if "status" in line] == ["running", "failed"]
    assert not any("request" in line for line in others)


def test_text_tells_it_at_the_end_of_a_line(service: httpx.Client) -> None:
    with printed("text") as stream:
        service.get("/readyz", headers=NAMED)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("no-ensemble: ")
    assert line.endswith(f" [request {THEIRS}]")


def test_a_job_keeps_the_id_of_what_asked_for_it(
    client: httpx.Client, jobs: Jobs, redis: Redis
) -> None:
    response = post(client, key="once", headers={"X-Request-ID": "first"})
    id_ = response.json()["id"]
    again = post(client, key="once", headers={"X-Request-ID": "second"})
    assert (again.json()["id"], again.headers["X-Request-ID"]) == (id_, "second")
    redis.flushall()
    for job in (response.json(), again.json(), client.get(f"/jobs/{id_}").json()):
        assert job["request_id"] == "first"
    assert jobs.request_id(id_) == "first"
    finish(jobs, id_)
    assert client.get(f"/jobs/{id_}").json()["request_id"] == "first"


def test_a_job_of_an_older_version_has_none(client: httpx.Client, store: Store) -> None:
    id_ = accepted(client)
    name = f"jobs/{id_}/request.json"
    request = json.loads(store.files.read(name))
    del request["request_id"]
    store.files.write(name, json.dumps(request).encode())
    jobs = Jobs(store, Redis(), lease_seconds=30)
    assert jobs.request_id(id_) is None
