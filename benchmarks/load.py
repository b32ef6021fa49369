"""The load generator: a process of its own, pinned to one core, whose own CPU time is counted.

Requests are whole before the clock starts, connections are kept, and of an answer only the status
and the length are read, so that little is taken from a server on the same cores. In the closed loop
every connection sends its next request when the last one is answered. In the open loop requests are
due at random times of a given rate, whether the server keeps up or not, and a latency counts from
when the request was due: waiting for a free connection is part of it ("coordinated omission").

``python -m benchmarks.load`` takes a ``Plan`` on standard input and prints an ``Outcome``.
"""

import asyncio
import gc
import itertools
import json
import math
import os
import random
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field

from benchmarks.tally import Outcome, Tally
from benchmarks.wire import LOST, Connection, dial


@dataclass(frozen=True)
class Plan:
    """What to send.

    Attributes:
        port: of loopback.
        requests: whole HTTP requests, sent in turn.
        seconds: how long answers are counted.
        warmup_seconds: how long they are not, before that.
        connections: in the closed loop how many, in the open loop at most how many.
        rate: requests a second of the open loop; none: the closed loop.
        core: the only one to run on; none: any.
        keep: keep the body of the first answer with status 200 to so many of the requests.
    """

    port: int
    requests: tuple[bytes, ...] = field(repr=False)
    seconds: float = 5.0
    warmup_seconds: float = 1.0
    connections: int = 32
    rate: float | None = None
    core: int | None = None
    keep: int = 0


def generate(plan: Plan) -> Outcome:
    """Run a plan in a process of its own.

    Raises:
        subprocess.CalledProcessError: nobody listens on the port.
    """
    lengths = [len(request) for request in plan.requests]
    told = json.dumps({**asdict(plan), "requests": lengths}).encode()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=b"\n".join([told, b"".join(plan.requests)]),
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(done.stdout)
    for name in ("statuses", "latencies_ms", "answers"):  # JSON has no numbers as keys
        found[name] = {int(key): value for key, value in found[name].items()}
    return Outcome(**found)


async def run(plan: Plan) -> Outcome:
    """Do what the plan says, in this process.

    Raises:
        OSError: nobody listens on the port.
    """
    generator = Generator(plan)
    try:
        await (generator.closed_loop() if plan.rate is None else generator.open_loop(plan.rate))
        return generator.outcome()
    finally:
        generator.hang_up()


class Generator:
    """Sends and counts.

    Args:
        plan: what to send.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._numbers = itertools.cycle(range(len(plan.requests)))
        self._random = random.Random(0)  # noqa: S311  # the same times of arrival in every round
        self._open: set[Connection] = set()
        self._idle: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._begin = time.perf_counter() + plan.warmup_seconds
        self._end = self._begin + plan.seconds
        self._cpu_before = self._cpu_after = math.nan
        self._tally = Tally(self._begin, self._end, plan.keep)

    async def closed_loop(self) -> None:
        """Keep every connection busy with one request after the other."""
        for _ in range(self._plan.connections):
            self._send(await self._connect(), time.perf_counter())
        await self._count_cpu()

    async def open_loop(self, rate: float) -> None:
        """Send requests when they are due, on whatever connection is free."""
        counting = asyncio.create_task(self._count_cpu())
        due = time.perf_counter()
        while (now := time.perf_counter()) < self._end:
            due = self._let_arrive(due, now, rate)
            while self._waiting and (self._idle or len(self._open) < self._plan.connections):
                if not self._idle:
                    self._idle.append(await self._connect())  # others may be answered meanwhile
                elif (connection := self._idle.pop()).transport.is_closing():
                    continue
                else:
                    self._send(connection, self._waiting.popleft())
            self._tally.backlog = max(self._tally.backlog, len(self._waiting))
            # Not for every single one: waking up costs the server's cores.
            await asyncio.sleep(max(0.001, due - time.perf_counter()))
        self._let_arrive(due, self._end, rate)
        await counting

    def answered(
        self, connection: Connection, status: int, seconds: float, index: int, whole: bytes
    ) -> None:
        """Count an answer, and use its connection again."""
        self._tally.answered(status, seconds, index, whole)
        if status == LOST or connection.transport.is_closing():
            return
        if self._plan.rate is None:
            self._send(connection, time.perf_counter())
        elif self._waiting:
            self._send(connection, self._waiting.popleft())
        else:
            self._idle.append(connection)

    def closed(self, connection: Connection) -> None:
        """Replace a connection that ended while it was needed."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._plan.rate is None and time.perf_counter() < self._end:
            self._tasks.add(task := asyncio.create_task(self._replace()))
            task.add_done_callback(self._tasks.discard)

    def outcome(self) -> Outcome:
        """Return what was counted."""
        return self._tally.outcome(self._cpu_after - self._cpu_before)

    def hang_up(self) -> None:
        """End every connection, whatever is under way."""
        for task in self._tasks:
            task.cancel()
        for connection in list(self._open):
            connection.transport.abort()

    def _let_arrive(self, due: float, now: float, rate: float) -> float:
        """Note the requests that became due and return when the next one will."""
        while due <= now:
            self._waiting.append(due)
            self._tally.sent(due)
            due += self._random.expovariate(rate)
        return due

    async def _connect(self) -> Connection:
        connected = dial(self._plan.port)
        connected.setblocking(False)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self), sock=connected)
        self._open.add(connection)
        return connection

    async def _replace(self) -> None:
        while (now := time.perf_counter()) < self._end:
            await asyncio.sleep(0.01)  # or a server that hangs up at once would keep us busy
            try:
                return self._send(await self._connect(), time.perf_counter())
            except OSError:
                self._tally.sent(now)
                self._tally.answered(LOST, time.perf_counter() - now, -1, b"")
        return None

    def _send(self, connection: Connection, due: float) -> None:
        if time.perf_counter() < self._end:
            if self._plan.rate is None:
                self._tally.sent(due)
            index = next(self._numbers)
            connection.send(index, self._plan.requests[index], due)

    async def _count_cpu(self) -> None:
        await asyncio.sleep(self._begin - time.perf_counter())
        self._cpu_before = time.process_time()
        await asyncio.sleep(self._end - time.perf_counter())
        self._cpu_after = time.process_time()


def main() -> None:
    """Read a plan, do it, print the outcome."""
    told = json.loads(sys.stdin.buffer.readline())
    told["requests"] = tuple(sys.stdin.buffer.read(length) for length in told["requests"])
    plan = Plan(**told)
    if plan.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {plan.core})
    gc.disable()  # nothing here refers to itself, and a pause would be taken for the server's
    outcome = json.dumps(asdict(_run_fast(plan))).encode()
    # Through a buffer: what is unbuffered, as by PYTHONUNBUFFERED, may be written in part.
    with open(sys.stdout.fileno(), "wb", closefd=False) as stdout:
        stdout.write(outcome)


def _run_fast(plan: Plan) -> Outcome:
    try:
        import uvloop  # noqa: PLC0415  # not there on Windows
    except ImportError:
        return asyncio.run(run(plan))
    return uvloop.run(run(plan))


if __name__ == "__main__":
    main()
