"""Connections that are slow, endless or two things at once; whoever is polite is answered."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from app.connections import MAX_HEAD_BYTES
from models.store import Store
from tests.service import PROBLEM, ask, picture, running, same_answer, settings_for
from tests.sockets import Reply, connection, head, is_closed, replies, reply, send
from tests.tiny import publish

SECONDS = 1.0
PICTURE = picture()
GET = head("GET", "/healthz")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("connections")
    store = Store(folder / "store")
    store.serve(publish(store).id)
    with running(settings_for(folder, redis_url, max_receive_seconds=SECONDS)) as client:
        yield client


def check_told(told: Reply, status: int, type_: str) -> None:
    assert (told.status, told.media_type) == (status, PROBLEM)
    assert told.json["type"] == f"urn:stillhouse:problem:{type_}"
    assert told.json["status"] == status


SLOW = {
    "line": b"POST /pre",
    "header": b"POST /predict HTTP/1.1\r\nHost: a\r\nX: ",
    "body": head(Content_Type="image/png", Content_Length=len(PICTURE)) + PICTURE[:-1],
    "chunk": head(Content_Type="image/png", Transfer_Encoding="chunked") + b"ff\r\nabc",
    "no chunk": head(Content_Type="image/png", Transfer_Encoding="chunked"),
    "huge chunk": head(Content_Type="image/png", Transfer_Encoding="chunked") + b"fffffff\r\nabc",
    "part": head(Content_Type="multipart/form-data; boundary=x", Content_Length=99) + b"--x\r\nA:",
    "recipe": head(path="/jobs/distill", Content_Type="application/json", Content_Length=99),
}


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_a_request_that_does_not_come_whole_is_told_so_and_ended(
    client: httpx.Client, sent: bytes
) -> None:
    with connection(client) as connected:
        started = time.monotonic()
        connected.sendall(sent)
        check_told(reply(connected), 408, "request-timeout")
        assert is_closed(connected)
    assert 0.9 * SECONDS <= time.monotonic() - started < SECONDS + 15


def test_under_v2_it_is_told_in_the_words_of_the_protocol(client: httpx.Client) -> None:
    with connection(client) as connected:
        connected.sendall(head(path="/v2/models/serving/infer", Content_Length=9))
        told = reply(connected)
    assert (told.status, told.media_type) == (408, "application/json")
    assert told.json.keys() == {"error"}


def test_a_byte_now_and_then_wins_no_time(client: httpx.Client) -> None:
    with connection(client, seconds=0.1) as connected:
        connected.sendall(head(Content_Type="image/png", Content_Length=1000))
        started = time.monotonic()
        told = b""
        while not told:
            connected.sendall(b"a")
            try:
                told = connected.recv(100)  # waits a moment, then says that there is nothing yet
            except TimeoutError:
                assert time.monotonic() - started < SECONDS + 15
    assert told.startswith(b"HTTP/1.1 408 ")


def test_a_connection_on_which_nothing_is_asked_is_closed_without_a_word(
    client: httpx.Client,
) -> None:
    with connection(client) as connected:
        assert is_closed(connected)


@pytest.mark.parametrize("idle", [b"\r\n", b"GET /"])
def test_a_connection_that_was_answered_cannot_be_held_either(
    client: httpx.Client, idle: bytes
) -> None:
    with connection(client) as connected:
        connected.sendall(GET)
        assert reply(connected).status == 200
        connected.sendall(idle)
        check_told(reply(connected), 408, "request-timeout")
        assert is_closed(connected)


def test_a_body_that_nobody_reads_cannot_be_sent_for_ever(client: httpx.Client) -> None:
    with connection(client) as connected:
        connected.sendall(head("GET", "/healthz", Content_Length=1000) + b"a")
        assert reply(connected).status == 200
        assert is_closed(connected)


def test_a_polite_client_takes_as_many_turns_as_it_likes(client: httpx.Client) -> None:
    with connection(client) as connected:
        started = time.monotonic()
        while time.monotonic() - started < 2 * SECONDS:
            connected.sendall(GET[:20])
            connected.sendall(GET[20:])
            assert reply(connected).status == 200


def test_two_hundred_slow_senders_keep_nobody_waiting(client: httpx.Client) -> None:
    expected = ask(client, PICTURE)
    with ExitStack() as stack:
        slow = [stack.enter_context(connection(client)) for _ in range(200)]
        for number, connected in enumerate(slow):
            connected.sendall(list(SLOW.values())[number % len(SLOW)])
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ask(client, PICTURE), range(20)))
        assert all(same_answer(answer, expected) for answer in answers)
        for connected in slow:
            check_told(reply(connected), 408, "request-timeout")


ENDLESS = {
    "line": (b"GET /" + b"a" * 2**16, b"a" * 2**16),
    "header": (b"GET / HTTP/1.1\r\nX: ", b"a" * 2**16),
    "headers": (b"GET / HTTP/1.1\r\n", b"X: y\r\n" * 2**13),
    "size of a chunk": (head(Transfer_Encoding="chunked") + b"1;", b"a" * 2**16),
    "trailer": (head(Transfer_Encoding="chunked") + b"0\r\nX: ", b"a" * 2**16),
    "trailers": (head(Transfer_Encoding="chunked") + b"0\r\n", b"X: y\r\n" * 2**13),
}


@pytest.mark.parametrize(("begin", "more"), ENDLESS.values(), ids=ENDLESS)
def test_a_head_without_end_is_refused_before_it_fills_the_memory(
    client: httpx.Client, begin: bytes, more: bytes
) -> None:
    with connection(client) as connected:
        sent = 0
        try:
            connected.sendall(begin)
            while sent < 64 * 2**20:
                connected.sendall(more)
                sent += len(more)
        except (BrokenPipeError, ConnectionResetError):
            pass
    # What was on its way, in the buffers of both sockets, is more than the limit.
    assert sent < 16 * 2**20


def test_a_head_that_is_too_large_is_told_so(client: httpx.Client) -> None:
    whole = b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES
    check_told(send(client, whole), 431, "head-too-large")
    assert client.get("/healthz", headers={"X": "a" * (MAX_HEAD_BYTES // 2)}).status_code == 200


MALFORMED = {
    "no HTTP": b"hello\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    "HTTP 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "bytes in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    "an authority": b"CONNECT service:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a negative length": head(Content_Length="-1"),
    "a length with a sign": head(Content_Length="+5") + b"abcde",
    "a length that no number holds": head(Content_Length="9" * 30),
    "a length that is none": head(Content_Length="five"),
    "two lengths": b"POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "length and chunks": head(Content_Length=4, Transfer_Encoding="chunked") + b"0\r\n\r\n",
    "chunks and length": head(Transfer_Encoding="chunked", Content_Length=4) + b"0\r\n\r\n",
    "chunks not last": head(Transfer_Encoding="chunked, identity") + b"0\r\n\r\n",
    "a chunk without a size": head(Transfer_Encoding="chunked") + b"\r\nabc\r\n",
    "a chunk of a negative size": head(Transfer_Encoding="chunked") + b"-1\r\nabc\r\n",
    "a chunk of an absurd size": head(Transfer_Encoding="chunked") + b"f" * 17 + b"\r\nabc",
    "a chunk that is longer": head(Transfer_Encoding="chunked") + b"2\r\nabcd\r\n0\r\n\r\n",
    "a header with a zero": b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
    "a folded header": b"POST / HTTP/1.1\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": b"POST / HTTP/1.1\nContent-Length: 4\nTransfer-Encoding: chunked\n\n0\n\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_http_is_refused_and_the_connection_closed(
    client: httpx.Client, sent: bytes
) -> None:
    smuggled = head("DELETE", "/jobs/smuggled")
    with connection(client) as connected:
        connected.sendall(sent + smuggled)
        told = replies(connected, count=3)
    assert [each.status for each in told] == [400]
    assert client.get("/healthz").status_code == 200


def test_more_than_the_declared_length_is_the_next_request(client: httpx.Client) -> None:
    body = head(Content_Type="image/png", Content_Length=len(PICTURE)) + PICTURE
    with connection(client) as connected:
        connected.sendall(body + b"these are no request\r\n\r\n")
        told = replies(connected, count=3)
    assert told[-1].status == 400  # the connection is closed, perhaps before the first answer
    assert [each.status for each in told[:-1]] in ([], [200])


@pytest.mark.parametrize("pause", [False, True])
def test_a_body_behind_an_upgrade_is_not_taken_for_a_request(
    client: httpx.Client, pause: bool
) -> None:
    body = head("DELETE", "/jobs/smuggled")
    upgrade = {"Connection": "Upgrade", "Upgrade": "h2c", "Content_Length": str(len(body))}
    with connection(client) as connected:
        connected.sendall(head(**upgrade))
        if pause:
            check_told(reply(connected), 400, "bad-request")
            assert is_closed(connected)
        else:
            connected.sendall(body)
            assert [each.status for each in replies(connected, count=3)] == [400]


def test_an_upgrade_without_a_body_is_passed_over(client: httpx.Client) -> None:
    with connection(client) as connected:
        connected.sendall(head("GET", "/healthz", Connection="Upgrade", Upgrade="h2c") + GET)
        assert [each.status for each in replies(connected, count=3)] == [200]


def test_requests_that_come_at_once_are_answered_in_turn(client: httpx.Client) -> None:
    good = head(Content_Type="image/png", Content_Length=len(PICTURE)) + PICTURE
    bad = head(Content_Type="image/png", Content_Length=5) + b"hello"
    with connection(client) as connected:
        connected.sendall((good + bad + GET) * 30)
        told = replies(connected, count=90)
    assert [each.status for each in told] == [200, 422, 200] * 30
    assert len({each.body for each in told if each.status == 200}) == 2


def test_who_hangs_up_in_the_middle_harms_nobody(client: httpx.Client) -> None:
    expected = ask(client, PICTURE)
    for sent in [*SLOW.values(), *(begin for begin, _ in ENDLESS.values())]:
        with connection(client) as connected:
            connected.sendall(sent)
            connected.shutdown(socket.SHUT_RDWR)
    assert same_answer(ask(client, PICTURE), expected)
