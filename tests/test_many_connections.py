"""More connections than there may be: new ones are told so, old ones notice nothing."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from select import select

import httpx
import pytest
from redis import Redis

from app.connections import PROBES, SPARE_CONNECTIONS
from app.jobs import Jobs
from models.store import Store
from tests.service import (
    PROBLEM,
    accepted,
    ask,
    finish,
    picture,
    problem_of,
    running,
    settings_for,
    wait_until,
)
from tests.sockets import Reply, connection, head, is_closed, replies, reply
from tests.tiny import publish

MOST = 3
PICTURE = picture()
POST = head(Content_Type="image/png", Content_Length=len(PICTURE)) + PICTURE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("many")


@pytest.fixture(scope="module")
def client(folder: Path, redis_url: str) -> Iterator[httpx.Client]:
    """A service for three connections and two followers; this client holds none between calls."""
    store = Store(folder / "store")
    store.serve(publish(store).id)
    fields = {"max_connections": MOST, "max_followers": 2, "max_receive_seconds": 60}
    with running(settings_for(folder, redis_url, **fields)) as client:
        client.headers["Connection"] = "close"
        yield client


def metric(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.fixture
def full(client: httpx.Client) -> Iterator[ExitStack]:
    """As many connections as there may be, each in the middle of a request."""
    with ExitStack() as stack:
        wait_until(lambda: metric(client, "stillhouse_connections") == 1)  # who asks
        for _ in range(MOST):
            stack.enter_context(connection(client)).sendall(POST[:-1])
        # On a connection too many, which probes may have.
        wait_until(lambda: metric(client, "stillhouse_connections") == MOST + 1)
        yield stack


def check_refused(told: Reply) -> None:
    assert (told.status, told.media_type) == (503, PROBLEM)
    assert told.json["type"] == "urn:stillhouse:problem:too-many-connections"
    assert told.json["detail"] == "3 connections are open already; try again in a moment"
    assert told.json["request_id"]


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("sent", [POST, head("GET", "/ensembles"), head("GET", "/nothing")])
def test_one_too_many_is_told_so_and_closed(client: httpx.Client, sent: bytes) -> None:
    before = metric(client, "stillhouse_refused_connections_total")
    with connection(client) as connected:
        connected.sendall(sent)
        check_refused(reply(connected))
        assert is_closed(connected)
    assert metric(client, "stillhouse_refused_connections_total") == before + 1


@pytest.mark.usefixtures("full")
def test_a_client_knows_when_to_come_again(client: httpx.Client) -> None:
    response = client.get("/ensembles", headers={"X-Request-ID": "mine"})
    assert problem_of(response, 503, "too-many-connections")["request_id"] == "mine"
    assert response.headers["Retry-After"] == "1"
    assert response.headers["X-Request-ID"] == "mine"
    assert response.headers["Connection"] == "close"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_those_that_were_there_notice_nothing(client: httpx.Client) -> None:
    expected = ask(client, PICTURE)["predictions"][0]["label"]
    with ExitStack() as stack:
        old = [stack.enter_context(connection(client)) for _ in range(MOST)]
        for connected in old:
            connected.sendall(POST[:-1])
        wait_until(lambda: metric(client, "stillhouse_connections") == MOST + 1)
        for _ in range(10):
            assert client.get("/ensembles").status_code == 503
        for connected in old:
            connected.sendall(POST[-1:] + POST)  # and another behind it
            assert [told.status for told in replies(connected, count=2)] == [200, 200]
            connected.sendall(POST)
            assert reply(connected).json["predictions"][0]["label"] == expected


def test_a_place_that_is_given_up_is_anothers(client: httpx.Client, full: ExitStack) -> None:
    assert client.get("/ensembles").status_code == 503
    full.close()
    assert wait_until(lambda: client.get("/ensembles").status_code == 200)


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("path", sorted(PROBES))
def test_probes_are_answered_all_the_same(client: httpx.Client, path: str) -> None:
    response = client.get(path, headers={"Connection": "keep-alive"})
    assert response.status_code == 200
    assert response.headers["Connection"] == "close"


@pytest.mark.usefixtures("full")
def test_a_probe_is_no_way_in_for_what_comes_behind_it(client: httpx.Client) -> None:
    with connection(client) as connected:
        connected.sendall(head("GET", "/healthz") + POST)
        assert [told.status for told in replies(connected, count=2)] == [200]


@pytest.mark.usefixtures("full")
def test_what_comes_beyond_the_spare_ones_is_refused_unheard(client: httpx.Client) -> None:
    with ExitStack() as stack:
        spare = [stack.enter_context(connection(client)) for _ in range(SPARE_CONNECTIONS)]
        with connection(client) as connected:
            check_refused(reply(connected))  # nothing was asked
            assert is_closed(connected)
            assert not select(spare, [], [], 0)[0]  # while all of these may still ask
        # Who is silent on a spare one is told the same, and it is free again.
        check_refused(reply(spare[0]))
        assert is_closed(spare[0])
    assert wait_until(lambda: client.get("/healthz").status_code == 200)


# Followers.


def test_more_followers_than_there_may_be_are_told_so(
    client: httpx.Client, folder: Path, redis: Redis
) -> None:
    jobs = Jobs(Store(folder / "store"), redis, lease_seconds=30)
    id_ = accepted(client)
    path = f"/jobs/{id_}/events"
    before = metric(client, "stillhouse_rejected_requests_total")
    with client.stream("GET", path) as one:
        assert one.status_code == 200
        with client.stream("GET", path) as two:
            assert two.status_code == 200
            with client.stream("GET", path) as three:
                assert three.status_code == 429
                three.read()
                problem = problem_of(three, 429, "too-busy")
                assert "2 clients follow jobs already" in problem["detail"]
                assert int(three.headers["Retry-After"]) > 0
            assert metric(client, "stillhouse_followers") == 2
            assert metric(client, "stillhouse_rejected_requests_total") == before + 1
        # One has hung up, and its place is free as soon as that is noticed.
        wait_until(lambda: metric(client, "stillhouse_followers") == 1)
        with client.stream("GET", path) as again:
            assert again.status_code == 200
            finish(jobs, id_)
            assert again.read().endswith(b"\n\n")
        one.read()
    wait_until(lambda: metric(client, "stillhouse_followers") == 0)


def test_an_unknown_job_takes_no_place(client: httpx.Client) -> None:
    for _ in range(3):
        problem_of(client.get(f"/jobs/{'0' * 32}/events"), 404, "job-not-found")
    assert metric(client, "stillhouse_followers") == 0
