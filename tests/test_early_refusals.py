"""While no picture more may wait, predictions are refused before the application hears of them."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from app.service import Service, create_app
from models.store import Store
from tests.service import PROBLEM, picture, problem_of, running, settings_for, wait_until
from tests.sockets import connection, head, is_closed, replies
from tests.tiny import publish

PICTURE = picture()
HEADERS = {"Content-Type": "image/png"}
POST = head(Content_Type="image/png", Content_Length=len(PICTURE)) + PICTURE
REJECTED = 'stillhouse_rejected_requests_total{reason="too-busy"}'
REFUSED = 'stillhouse_http_requests_total{code="429",method="POST",route="/predict"}'


def counted(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


class Heard:
    """The outermost middleware: what the application was asked."""

    def __init__(self, app: ASGIApp, paths: list[str]) -> None:
        self._app, self._paths = app, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the path and pass the request on."""
        if scope["type"] == "http":
            self._paths.append(scope["path"])
        await self._app(scope, receive, send)


class Running:
    """A service that lets two pictures wait, and what its application heard."""

    def __init__(self, client: httpx.Client, service: Service, heard: list[str]) -> None:
        self.client, self.service, self.heard = client, service, heard

    def post(self, **headers: str) -> httpx.Response:
        """Ask about one picture."""
        return self.client.post("/predict", content=PICTURE, headers={**HEADERS, **headers})


@contextmanager
def served(folder: Path, redis_url: str, **fields: object) -> Iterator[Running]:
    store = Store(folder / "store")
    store.serve(publish(store).id)
    settings = settings_for(folder, redis_url, max_waiting_pictures=2, **fields)
    application, heard = create_app(settings), list[str]()
    application.add_middleware(Heard, paths=heard)
    with running(settings, application) as client:
        yield Running(client, application.state.service, heard)


def taken(service: Service) -> int:
    """Return how many pictures wait or are in hand, one to a batch."""
    return service.batcher.waiting + len(service.batcher._in_hand)


@contextmanager
def full(service: Service, ask: Callable[[], httpx.Response]) -> Iterator[None]:
    """Hold the engine's threads, and ask until no picture more may wait; all are answered then."""
    free = threading.Event()
    with ThreadPoolExecutor(32) as pool:
        try:
            for _ in range(service.engine._max_workers):
                service.engine.submit(free.wait)
            asked = []
            while service.batcher.full() is None:
                asked.append(pool.submit(ask))
                wait_until(lambda: taken(service) == len(asked))
            yield
        finally:
            free.set()
        assert {each.result().status_code for each in asked} == {200}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("early")
    with served(folder, redis_url, max_receive_seconds=2) as found:
        yield found


@pytest.fixture
def busy(service: Running) -> Iterator[Running]:
    with full(service.service, service.post):
        service.heard.clear()
        yield service


def test_the_application_does_not_hear_of_it(busy: Running) -> None:
    problem_of(busy.post(), 429, "too-busy")
    assert busy.heard == []
    assert busy.client.get("/healthz").status_code == 200
    assert busy.heard == ["/healthz"]


def test_it_is_the_answer_that_the_application_gives(busy: Running) -> None:
    early, late = busy.post(), busy.post(Connection="close")
    assert busy.heard == ["/predict"], "who asks for the connection to be closed is let in"
    assert early.json() == late.json()
    told = [dict(answer.headers) for answer in (early, late)]
    for headers in told:
        assert len(headers.pop("x-request-id")) == 32
        for name in ("date", "connection"):
            headers.pop(name, None)
    assert told[0] == told[1]


def test_it_is_counted_and_has_the_clients_id(busy: Running) -> None:
    before = [counted(busy.client, name) for name in (REFUSED, REJECTED)]
    assert busy.post(**{"X-Request-ID": "mine"}).headers["X-Request-ID"] == "mine"
    after = [counted(busy.client, name) for name in (REFUSED, REJECTED)]
    assert after == [count + 1 for count in before]


def test_the_connection_goes_on_with_what_comes_behind_it(busy: Running) -> None:
    with connection(busy.client) as connected:
        connected.sendall(POST + head("GET", "/healthz") + POST)
        assert [each.status for each in replies(connected, 3)] == [429, 200, 429]


def test_a_body_in_pieces_is_no_request(busy: Running) -> None:
    with connection(busy.client) as connected:
        connected.sendall(POST[:-10])
        (told,) = replies(connected)
        assert (told.status, told.media_type) == (429, PROBLEM)
        connected.sendall(POST[-10:] + head("GET", "/healthz"))
        assert [each.status for each in replies(connected)] == [200]


def test_who_leaves_the_rest_of_a_body_out_is_told_nothing_more(busy: Running) -> None:
    with connection(busy.client) as connected:
        connected.sendall(POST[:-10])
        assert [each.status for each in replies(connected)] == [429]
        assert is_closed(connected)


def test_answers_keep_their_order(service: Running) -> None:
    with connection(service.client) as connected:
        with full(service.service, service.post):
            connected.sendall(head("GET", "/readyz") + POST + POST)
            first, *more = replies(connected, 3)
        assert first.status == 200
        assert [each.status for each in more] == [429, 429]


def test_who_shows_no_key_is_asked_for_one_first(tmp_path: Path, redis_url: str) -> None:
    key = "of-somebody-who-may-predict"
    with served(tmp_path, redis_url, api_keys=f"one:predict:{key}") as service:
        shown = {"Authorization": f"Bearer {key}"}
        with full(service.service, lambda: service.post(**shown)):
            assert service.post().status_code == 401
            assert service.post(**shown).status_code == 429


def test_what_is_no_prediction_is_answered(busy: Running) -> None:
    assert busy.client.get("/classes").status_code == 200
    assert busy.client.get("/predict").status_code == 405
    assert busy.client.post("/predictions", content=PICTURE).status_code == 404
