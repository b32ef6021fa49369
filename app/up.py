"""``make run``: starts Valkey, a worker and the API, each in a process of its own, and stops them.

Imports nothing heavy, so that the first line appears at once.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

from app.exposure import refuse_exposure
from app.settings import Settings, read_settings

SHORTEST_LIFE_SECONDS = 5.0
"""A process that ends sooner after its start would only do so again."""

STOP_SECONDS = 30.0

KEYS = ("STILLHOUSE_API_KEYS", "STILLHOUSE_API_KEYS_FILE")


class Child:
    """One process, started again when it ends by itself.

    Args:
        name: shown before each line it prints.
        module: what it runs.
        arguments: its command line.
        environment: its environment variables.
    """

    def __init__(
        self, name: str, module: str, arguments: list[str], environment: dict[str, str]
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-m", module, *arguments]
        self._environment = environment
        self.start()

    def start(self) -> None:
        """Start the process."""
        self._started = time.monotonic()
        # In a session of its own: Ctrl-C must reach only us, since the order of stopping matters.
        self.process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None  # noqa: S101  # a pipe was asked for
        threading.Thread(target=self._print_lines, args=(self.process.stdout,), daemon=True).start()

    def restart_if_ended(self) -> bool:
        """Start the process again if it has ended; false when that would be no use."""
        code = self.process.poll()
        if code is None:
            return True
        say(f"{self.name} ended with status {code}")
        if time.monotonic() - self._started < SHORTEST_LIFE_SECONDS:
            return False
        say(f"starting {self.name} again")
        self._kill_group()
        self.start()
        return True

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self.process.poll() is None:
            self.process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for the end; after the seconds given, kill it with all it has started."""
        try:
            self.process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            say(f"{self.name} does not stop; killing it")
        self._kill_group()
        self.process.wait()

    def _kill_group(self) -> None:
        # What it has started outlives it if it was killed itself, and must not: it would keep a
        # port or a job that the next one needs.
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _print_lines(self, lines: IO[str]) -> None:
        for line in lines:
            say(line.rstrip("\n"), self.name)


def main() -> int:
    """Run until SIGINT, SIGTERM or the terminal's end, then stop everything that was started."""
    settings = read_settings()
    refuse_exposure(settings)
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # under nohup
            signal.signal(number, lambda *_: asked.set())
    if not is_free(settings.host, settings.port):
        say(f"port {settings.port} of {settings.host} is taken; set STILLHOUSE_PORT to another")
        return 1
    with _running(settings) as children:
        threading.Thread(target=_announce, args=(settings, asked), daemon=True).start()
        while not asked.wait(timeout=0.5):
            if not all(child.restart_if_ended() for child in children):
                say("giving up")
                return 1
    return 0


@contextmanager
def _running(settings: Settings) -> Iterator[list[Child]]:
    environment = without_keys(os.environ)
    children: list[Child] = []
    try:
        if settings.redis_url is None:
            port = free_port()
            folder = _broker_folder(settings)
            say(f"starting Valkey on port {port}, appending to {folder}")
            arguments = [f"--port={port}", f"--folder={folder}"]
            children.append(Child("valkey", "app.broker", arguments, environment))
            environment["STILLHOUSE_REDIS_URL"] = f"redis://127.0.0.1:{port}/0"
            _wait_for_port(port, children[0])
        say("starting one training worker and the API")
        children.append(Child("worker", "app.worker", [], environment))
        children.append(Child("api", "app", [], {**os.environ, **environment}))
        yield children
    finally:
        say("stopping")
        deadline = time.monotonic() + STOP_SECONDS
        # Valkey last: the worker hands its job back through it.
        first, last = [c for c in children if c.name != "valkey"], children[:1]
        for group in (first, [child for child in last if child.name == "valkey"]):
            for child in group:
                child.ask_to_stop()
            for child in group:
                child.wait(deadline - time.monotonic())
        say("stopped")


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for processes that let nobody in, and so need no keys."""
    return {name: value for name, value in environment.items() if name.upper() not in KEYS}


def _announce(settings: Settings, asked: threading.Event) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    while not asked.wait(timeout=0.1):
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=5):  # noqa: S310  # ours
                say(f"ready: {address}  (every call explained at {address}/docs; Ctrl-C stops)")
                return
        except urllib.error.HTTPError as error:
            with error:  # it answers, so it is up
                say(f"up: {address}  (no ensemble to answer with yet; Ctrl-C stops)")
            return
        except OSError:
            continue


def _broker_folder(settings: Settings) -> Path:
    store = Path(settings.store)
    # A store elsewhere still needs its queue on this machine's disk.
    return (Path("store") if "://" in settings.store else store) / "valkey"


def _wait_for_port(port: int, child: Child) -> None:
    while child.process.poll() is None:
        try:
            with closing(socket.create_connection(("127.0.0.1", port), timeout=1)):
                return
        except OSError:
            time.sleep(0.02)


def is_free(host: str, port: int) -> bool:
    """Say whether nobody listens on a port of one of this machine's addresses."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def say(line: str, name: str = "") -> None:
    """Print a line, after the name of the process it is from if it is not ours."""
    # The terminal or the pipe may be closed, and everything is to be stopped all the same.
    with suppress(OSError):
        print(f"{name:>6} | {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
