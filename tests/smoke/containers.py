"""The compose project under test: its engine, its containers, and its API on a port of its own."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STARTED = time.monotonic()
BASE_IMAGES = (
    os.environ.get("PYTHON_IMAGE", "python:3.11-slim-bookworm"),
    os.environ.get("REDIS_IMAGE", "redis:7-alpine"),
)

Json = dict[str, Any]


class Skipped(Exception):
    """This machine cannot run containers; the message says why."""


def say(message: str) -> None:
    """Print a line at once, with the time since the start."""
    print(f"{time.monotonic() - STARTED:6.0f} s  {message}", flush=True)


def output_of(*command: str) -> str:
    """What a command prints; its error output passes through.

    Raises:
        subprocess.CalledProcessError: if it failed.
    """
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def works(*command: str) -> bool:
    """Whether a command exists here and succeeds."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def ready_engine() -> None:
    """Find a Docker engine and the base images, or have the stand-in script make them.

    Raises:
        Skipped: if neither works here.
    """
    engine = works("docker", "info")
    if engine and all(works("docker", "image", "inspect", image) for image in BASE_IMAGES):
        return
    script = Path(os.environ.get("STANDIN_IMAGES", ROOT.parent / "shared/docker/standin-images"))
    if script.is_file():
        say(f"making stand-ins for {' and '.join(BASE_IMAGES)} with {script.name} (1 to 2 minutes)")
        made = subprocess.run(
            ["/usr/bin/env", "bash", str(script), *BASE_IMAGES],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if made.returncode:
            last_lines = " / ".join(made.stdout.strip().splitlines()[-3:])
            raise Skipped(f"{script.name} could not make a Docker engine and images: {last_lines}")
    elif not engine:
        raise Skipped("no Docker engine answers `docker info`")


def find_compose() -> list[str]:
    """Return the command of the Compose that is here, v2 first.

    Raises:
        Skipped: if there is none.
    """
    for command in (["docker", "compose"], ["docker-compose"]):
        if works(*command, "version"):
            return command
    raise Skipped("neither `docker compose` nor `docker-compose` is installed")


class Service:
    """The running compose project, and its API on a port of this machine.

    Args:
        compose: the Compose command.
        data: folder that becomes the containers' data folder.
    """

    def __init__(self, compose: list[str], data: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.project = f"stillhouse-smoke-{os.getpid()}"
        self.compose_command = [
            *compose,
            "-p",
            self.project,
            "-f",
            str(ROOT / "docker-compose.yml"),
        ]
        self.environment = {
            **os.environ,
            "STILLHOUSE_PUBLISH": f"127.0.0.1:{self.port}",
            "STILLHOUSE_DATA": str(data),
            "COMPOSE_IGNORE_ORPHANS": "1",
        }

    def compose(self, *arguments: str, quiet: bool = False) -> None:
        """Run Compose. `quiet`: show its output only if it fails.

        Raises:
            SystemExit: if it failed.
        """
        done = subprocess.run(
            [*self.compose_command, *arguments],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"compose {' '.join(arguments)} failed:\n{done.stdout or ''}")

    def call(self, method: str, path: str, body: bytes | Json | None = None) -> tuple[int, Any]:
        """Ask the API; bytes are sent as a PNG, a dictionary as JSON. Returns status and JSON.

        Raises:
            OSError, http.client.HTTPException: if nothing answers.
        """
        headers = {"Content-Type": "image/png" if isinstance(body, bytes) else "application/json"}
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        payload = json.dumps(body).encode() if isinstance(body, dict) else body
        try:
            connection.request(method, path, payload, headers if payload else {})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        is_json = "json" in response.getheader("Content-Type", "")
        return response.status, json.loads(text) if is_json else text.decode()

    def containers(self) -> dict[str, str]:
        """The project's containers, stopped ones too: service to container id."""
        label = "com.docker.compose.project"
        template = '{{.Label "com.docker.compose.service"}} {{.ID}}'
        rows = output_of(
            *("docker", "ps", "-a", "--filter", f"label={label}={self.project}"),
            *("--format", template),
        )
        return dict(row.split() for row in rows.splitlines())

    def remove(self) -> None:
        """Remove containers, networks, volumes and image tags.

        The images' layers stay, so that the next run builds in seconds; `docker image prune`
        frees them.
        """
        self.compose("down", "--volumes", quiet=True)
        for service in ("api", "worker"):
            for joint in "-_":  # Compose v2 and 1.29 join the names differently
                works("docker", "rmi", "--no-prune", f"{self.project}{joint}{service}")

    def wait_ready(self) -> None:
        """Wait until `/readyz` answers 200."""

        def ready() -> bool:
            try:
                return self.call("GET", "/readyz")[0] == 200
            except (OSError, HTTPException):
                return False

        wait_for("the API to be ready", ready, seconds=120)

    def wait_job(self, job: str, reached: Callable[[Json], bool], seconds: int = 300) -> Json:
        """Poll a job until `reached` says yes; return its last answer.

        Args:
            job: its id.
            reached: called with every answer.
            seconds: how long it may stand still; a busy machine trains slowly, but it trains.
        """
        last: Json = {}

        def moved() -> bool:
            status, answer = self.call("GET", f"/jobs/{job}")
            assert status == 200, f"GET /jobs/{job} answers {status}: {answer}"
            assert answer["status"] not in {"failed", "cancelled"}, f"the job ended: {answer}"
            known = last.get("progress")
            last.update(answer)
            return reached(answer) or answer["progress"] != known

        while not last or not reached(last):
            wait_for(f"job {job} to move", moved, seconds)
        return last


def wait_for(what: str, done: Callable[[], bool], seconds: int) -> None:
    """Ask twice a second until `done`; fail after this many seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.5)
