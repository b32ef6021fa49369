"""The service, or one of its workers, in processes of their own, for tests that kill some."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import httpx

from app.up import SHORTEST_LIFE_SECONDS
from tests.service import keep_choices, wait_until
from tests.tiny import small_release


class Process(NamedTuple):
    """A running process; its start time tells it from a later one with the same number."""

    pid: int
    parent: int
    started: int
    command: str


class Command:
    """A Python module as a process of its own, and the lines that it prints.

    Args:
        module: what it runs.
        settings: environment variables; no other of ours reaches it.
        arguments: its command line.
    """

    def __init__(
        self, module: str, settings: Mapping[str, str], arguments: Sequence[str] = ()
    ) -> None:
        self.lines: list[str] = []
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = {
            **{name: value for name, value in os.environ.items() if "STILLHOUSE" not in name},
            "OMP_NUM_THREADS": "1",  # several processes share the cores, and sums keep their order
            **settings,
        }

    def start(self) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.terminate()
        status = self.process.wait(30)
        self._reader.join()  # ends when nobody is left who could print
        return status

    def wait_for_line(self, pattern: str, after: int = 0) -> None:
        """Wait until it prints a line, not looking at so many before."""

        def seen() -> bool:
            assert self.process.poll() is None, "".join(self.lines)
            return any(re.search(pattern, line) for line in self.lines[after:])

        wait_until(seen)

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            self.lines += lines


class Worker(Command):
    """``python -m app.worker``.

    Args:
        settings: environment variables.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        super().__init__("app.worker", settings)

    @property
    def child(self) -> int | None:
        """The number of the process that trains; none while it is being replaced."""
        found = [each.pid for each in all_processes() if each.parent == self.process.pid]
        return found[0] if len(found) == 1 else None

    def kill_child(self) -> None:
        """Send SIGKILL to the process that trains; another takes its place."""
        os.kill(wait_until(lambda: self.child or 0), signal.SIGKILL)


class Launcher(Command):
    """``python -m app.up`` and all that it starts.

    Args:
        folder: of the store and of what the processes print.
        data: folder of data sets.
        settings: environment variables, beside those that every test needs.
    """

    def __init__(self, folder: Path, data: Path, **settings: str) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.store = folder
        self.address = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.address, timeout=30)
        environment = {
            "STILLHOUSE_PORT": str(port),
            "STILLHOUSE_STORE": str(folder),
            "STILLHOUSE_DATA": str(data),
            "STILLHOUSE_RELEASE": str(small_release()),
            "STILLHOUSE_ENGINE_THREADS": "1",  # builds and times the fewest engines
        }
        keep_choices(folder)
        super().__init__("app.up", environment | settings)

    def start(self) -> None:
        """Start it and wait until it says that it is up."""
        before = len(self.lines)
        super().start()
        self.wait_for_line(f"(ready|up): {self.address}", after=before)

    def processes(self) -> list[Process]:
        """Return all processes that it has started, and those that they have."""
        everything = all_processes()
        family = {self.process.pid}
        for _ in range(5):  # generations
            family |= {process.pid for process in everything if process.parent in family}
        return [process for process in everything if process.pid in family - {self.process.pid}]

    def kill(self, command: str, parent: str) -> None:
        """Send SIGKILL to the process of this command line, and of this one of its parent."""
        family = self.processes()
        if parent == "app.up":
            parents = {self.process.pid}
        else:
            parents = {process.pid for process in family if parent in process.command}
        (found,) = [p for p in family if command in p.command and p.parent in parents]
        (child,) = [p for p in family if p.pid in (found.pid, found.parent) and self._began(p)]
        # It gives up on what ends sooner.
        wait_until(lambda: _age_seconds(child) > SHORTEST_LIFE_SECONDS)
        os.kill(found.pid, signal.SIGKILL)

    def _began(self, process: Process) -> bool:
        return process.parent == self.process.pid


def still_running(processes: list[Process]) -> list[Process]:
    """Return those that have not ended."""
    now = {(process.pid, process.started) for process in all_processes()}
    return [process for process in processes if (process.pid, process.started) in now]


def _age_seconds(process: Process) -> float:
    now = float(Path("/proc/uptime").read_text().split()[0])
    return now - process.started / os.sysconf("SC_CLK_TCK")


def all_processes() -> list[Process]:
    """Return all processes of the machine that have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has ended between the two looks
            continue
        if stat[0] != "Z":
            found.append(Process(int(folder.name), int(stat[1]), int(stat[19]), command))
    return found
