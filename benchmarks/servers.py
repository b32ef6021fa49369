"""A server under test: started with all its processes, watched, and always stopped."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.wire import ask

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0
STOP_SECONDS = 10.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def end_on_signals() -> None:
    """Let SIGTERM and SIGINT end this process as an error does: with every server stopped.

    SIGINT too, since a shell starts what runs in the background without it.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


class DidNotStart(RuntimeError):
    """A server ended or stayed silent; the message has the last lines that it printed."""


class Server:
    """A command and whatever processes it starts.

    Args:
        name: for messages.
        command: its arguments.
        environment: all its variables.
        port: of loopback, where it is to answer.
        probe: a request that it answers with 200 once it is ready; none: it is not waited for.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        port: int,
        probe: bytes | None,
    ) -> None:
        self.name, self.port = name, port
        self._command, self._probe = command, probe
        # Inherited by whatever it starts, in whatever session: BentoML's workers leave ours.
        self._mark = f"BENCH_SERVER={uuid.uuid4().hex}"
        self._environment = {**environment, **dict([self._mark.split("=")])}

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile("w+b")
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if self._probe is not None:
                self._wait_until_ready(self._probe)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def resident_bytes(self) -> int:
        """Return the memory of all its processes; what they share is counted for each."""
        return sum(int(fields[21]) for fields in self._processes().values()) * _PAGE_BYTES

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes that still run."""
        return sum(int(fields[11]) + int(fields[12]) for fields in self._processes().values()) / (
            _TICKS
        )

    def _wait_until_ready(self, probe: bytes) -> None:
        deadline = time.monotonic() + START_SECONDS
        said = "nobody listens"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                status, body = ask(self.port, probe, timeout_seconds=START_SECONDS)
            except (OSError, ValueError) as error:
                said = str(error)
            else:
                if status == 200:
                    return
                said = f"{status} {body[:200].decode(errors='replace')}"
            time.sleep(0.1)
        self._log.seek(0)
        printed = self._log.read().decode(errors="replace").splitlines()[-30:]
        raise DidNotStart("\n".join([f"{self.name} is not ready: {said}", *printed]))

    def _stop(self) -> None:
        with suppress(ProcessLookupError):
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        for _ in range(3):  # one may be starting another just now
            for pid in self._processes():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        self._process.wait()
        self._log.close()

    def _processes(self) -> dict[int, list[str]]:
        """Return the fields of /proc/<pid>/stat from the state on, of each process."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it may end between the looks, or not be ours to look at
                if self._mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    found[int(folder.name)] = fields
        return found
