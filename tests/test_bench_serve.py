"""The load generator of ``make bench-serve`` against a tiny HTTP server."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from benchmarks.load import Plan, generate, run
from benchmarks.tally import Outcome
from benchmarks.wire import LOST, ask, free_port, missing_bytes, post

Answer = Callable[[int], bytes]
"""What is written back to the request of this number; nothing: hang up."""


def reply(body: bytes = b"{}", status: str = "200 OK", header: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{header}Content-Length: {len(body)}\r\n\r\n".encode() + body


def fine(_: int) -> bytes:
    return reply()


@asynccontextmanager
async def serving(answer: Answer, seconds: float = 0.0) -> AsyncIterator[int]:
    """Serve HTTP on a free port, each answer after so many seconds, and give the port."""
    number = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal number
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await reader.readexactly(int(head.lower().split(b"content-length:")[1].split()[0]))
                await asyncio.sleep(seconds)
                data = answer(number)
                number += 1
                for part in data.partition(b"|"):  # an answer may come in pieces
                    writer.write(part)
                    await writer.drain()
                if not data or b"Connection: close" in data:
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass  # its time is over
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def measured(answer: Answer = fine, delay: float = 0.0, **changes: Any) -> Outcome:
    """Run a short plan against a server that answers so after a delay."""

    async def both() -> Outcome:
        async with serving(answer, delay) as port:
            requests = (post("/", b"one", "text/plain"), post("/", b"two", "text/plain"))
            plan = Plan(port, requests, seconds=0.2, warmup_seconds=0.05, connections=4)
            return await run(replace(plan, **changes))

    return asyncio.run(both())


# The closed loop.


def test_every_answer_in_time_is_counted() -> None:
    outcome = measured()
    assert list(outcome.statuses) == [200]
    assert outcome.rate == pytest.approx(outcome.statuses[200] / 0.2)
    assert outcome.failures == 0
    assert abs(outcome.due - outcome.statuses[200]) <= 4  # what is under way at begin and end
    assert outcome.answered > outcome.statuses[200]  # the warm-up's
    assert outcome.cpu_seconds > 0


def test_a_connection_sends_its_next_request_when_the_last_one_is_answered() -> None:
    outcome = measured(delay=0.02)
    assert 0 < outcome.statuses[200] <= 4 * (0.2 / 0.02 + 1)
    latencies = outcome.latencies_ms[200]
    assert 20 <= latencies["p50"] <= latencies["p90"] <= latencies["p99"] <= latencies["max"]


def test_other_statuses_are_counted_apart() -> None:
    refused = reply(b"full", "429 Too Many Requests")
    outcome = measured(lambda number: refused if number % 2 else reply())
    assert set(outcome.statuses) == set(outcome.latencies_ms) == {200, 429}
    assert outcome.failures == outcome.statuses[429]
    assert outcome.rate == pytest.approx(outcome.statuses[200] / 0.2)


def test_the_first_answer_to_each_request_is_kept_if_it_is_one() -> None:
    outcome = measured(
        lambda number: reply(b"%d" % number, "200 OK" if number else "500 Oh"),
        connections=1,
        keep=2,
    )
    assert outcome.answers == {0: "2", 1: "1"}


def test_a_server_that_hangs_up_is_asked_again_and_the_loss_is_counted() -> None:
    outcome = measured(lambda number: reply() if number % 3 else b"")
    assert outcome.statuses[LOST] > 0
    assert outcome.statuses[200] > 0
    assert outcome.failures == outcome.statuses[LOST]


def test_a_server_that_ends_connections_politely_loses_nothing() -> None:
    outcome = measured(lambda _: reply(header="Connection: close\r\n"))
    assert list(outcome.statuses) == [200]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nx: |y\r\n\r\n{ }",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{ | }",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n|0\r\n\r\n",
    ],
)
def test_an_answer_in_pieces_is_one_answer(data: bytes) -> None:
    outcome = measured(lambda _: data, connections=1)
    assert outcome.failures == 0
    assert abs(outcome.due - outcome.statuses[200]) <= 1


def test_what_is_missing_of_an_answer_is_known_from_its_head() -> None:
    whole = reply(b"12345")
    assert missing_bytes(whole) == 0
    assert missing_bytes(whole[:-2]) == 2
    assert missing_bytes(whole[:20]) == -1


# The open loop.


def test_requests_are_sent_at_the_rate_whether_the_server_keeps_up_or_not() -> None:
    for delay in (0.0, 60.0):
        outcome = measured(delay=delay, rate=1000.0, connections=1000)
        assert outcome.due == pytest.approx(200, abs=60)
        assert (200 in outcome.statuses) == (delay == 0)


def test_waiting_for_a_free_connection_is_part_of_the_latency() -> None:
    outcome = measured(delay=0.02, rate=1000.0, connections=1)
    assert outcome.latencies_ms[200]["p50"] > 60
    assert outcome.backlog > 50


# In a process of its own.


def test_it_runs_on_its_core_and_counts_what_it_takes() -> None:
    started, ended = threading.Event(), asyncio.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        async with serving(fine) as port:
            found.update(port=port, loop=asyncio.get_running_loop())
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        started.wait()
        core = min(os.sched_getaffinity(0))
        request = post("/", b"", "text/plain")
        outcome = generate(Plan(found["port"], (request,), 0.2, 0.05, 2, core=core, keep=1))
        assert ask(found["port"], request) == (200, b"{}")
    finally:
        found["loop"].call_soon_threadsafe(ended.set)
        thread.join()
    assert outcome.failures == 0
    assert outcome.rate > 0
    assert 0 < outcome.cpu_seconds <= 0.3
    assert outcome.answers == {0: "{}"}


def test_nobody_listening_is_an_error() -> None:
    with pytest.raises(OSError, match="refused"):
        asyncio.run(run(Plan(free_port(), (b"",))))
