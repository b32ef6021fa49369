"""Valkey, the API and two workers as processes of their own, started again when they are killed."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx

from app.up import free_port
from tests.chaos.disk import Disk, NoDisk, mounted
from tests.chaos.wire import Wire
from tests.launcher import Command, Worker, all_processes
from tests.service import wait_until

WORKERS = 2


class Cluster:
    """What is disturbed.

    Args:
        folder: of Valkey, and of the store unless it has a disk.
        data: folder of data sets.
        lease_seconds: after which the work of a worker not heard of is another's.
        wire: to Valkey.
        valkey_port: Valkey's.
        disk: of the store; none where none can be had.

    Attributes:
        store: folder of the store.
        client: of the API.
        workers: the workers.
    """

    def __init__(
        self,
        folder: Path,
        data: Path,
        *,
        lease_seconds: float,
        wire: Wire,
        valkey_port: int,
        disk: Disk | None,
    ) -> None:
        self.lease_seconds = lease_seconds
        self.wire = wire
        self.disk = disk
        self.store = disk.folder / "store" if disk else folder / "store"
        self.valkey_port = valkey_port
        self.api_port = free_port()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.api_port}", timeout=60)
        self._settings = {
            "STILLHOUSE_STORE": str(self.store),
            "STILLHOUSE_DATA": str(data),
            "STILLHOUSE_PORT": str(self.api_port),
            "STILLHOUSE_REDIS_URL": f"redis://127.0.0.1:{wire.port}/0",
            "STILLHOUSE_LEASE_SECONDS": str(lease_seconds),
            "STILLHOUSE_SWEEP_SECONDS": str(min(5.0, lease_seconds / 6)),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        arguments = [f"--port={self.valkey_port}", f"--folder={folder / 'valkey'}"]
        self._valkey = Command("app.broker", {}, arguments)
        self._api = Command("app", self._settings)
        self.workers = [Worker(self._settings) for _ in range(WORKERS)]
        self.down: list[tuple[float, float]] = []
        """When the API was away, from its kill until it could answer again."""

    def start(self) -> None:
        """Start everything and wait until it is ready."""
        self._valkey.start()
        self._api.start()
        for worker in self.workers:
            worker.start()
        for worker in self.workers:
            worker.wait_for_line("worker ready")
        wait_until(self._is_up)

    def stop(self) -> None:
        """End everything, orphans too."""
        for process in self._processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for command in (self._valkey, self._api, *self.workers):
            command.process.wait()
        self.client.close()

    def kill(
        self, *, valkey: bool = False, api: bool = False, worker: Worker | None = None
    ) -> None:
        """Kill some at once, then start them again.

        Args:
            valkey: whether to kill Valkey, which goes on with what it has on its disk.
            api: whether to kill the API.
            worker: whose parent and child to kill.
        """
        killed = time.monotonic()
        if valkey:
            self._kill(self._valkey)
        if worker:
            self._kill(worker)
        if api:
            self._kill(self._api)
            self._api.start()
        if valkey:
            self._valkey.start()
        if worker:
            worker.start()
        if api:
            wait_until(self._is_up)
            self.down.append((killed, time.monotonic()))

    def kill_parent(self, worker: Worker) -> None:
        """Kill a worker's parent and start another; its child is left alone with its work."""
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        worker.start()

    @property
    def commands(self) -> list[Command]:
        """What prints: the API and the workers."""
        return [self._api, *self.workers]

    def _is_up(self) -> bool:
        with suppress(httpx.TransportError):
            return self.client.get("/readyz").status_code == 200
        return False

    def _kill(self, command: Command) -> None:
        pids = [each.pid for each in all_processes() if each.parent == command.process.pid]
        for pid in (command.process.pid, *pids):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        command.process.wait()

    def _processes(self) -> list[int]:
        mark = f"STILLHOUSE_STORE={self.store}".encode()
        ours = {self._valkey.process.pid}
        found = []
        for process in all_processes():
            environment = b""
            with suppress(OSError):
                environment = Path(f"/proc/{process.pid}/environ").read_bytes()
            if mark in environment.split(b"\0") or {process.pid, process.parent} & ours:
                found.append(process.pid)
        return found


@contextmanager
def running(folder: Path, data: Path, lease_seconds: float) -> Iterator[Cluster]:
    """Give a cluster that is ready, with a disk for its store where this user may have one."""
    valkey_port = free_port()
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(mounted(folder / "disk"))
        except NoDisk:
            disk = None
        wire = stack.enter_context(Wire(valkey_port))
        cluster = Cluster(
            folder,
            data,
            lease_seconds=lease_seconds,
            wire=wire,
            valkey_port=valkey_port,
            disk=disk,
        )
        stack.callback(cluster.stop)
        yield cluster
