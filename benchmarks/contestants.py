"""Who takes part: how each is started, how pictures are sent to it, how its answer is read."""

import base64
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.material import Material
from benchmarks.servers import ROOT, Server
from benchmarks.wire import free_port, multipart, post

OURS = "stillhouse"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"


@dataclass(frozen=True)
class Contestant:
    """A server that takes part.

    Attributes:
        name: of the server.
        module: what is run.
        request: whole request from a picture and its media type.
        probabilities: from the body of an answer, parsed.
        engine: what a peer computes with; ``None`` for ourselves.
    """

    name: str
    module: str
    request: Callable[[bytes, str], bytes]
    probabilities: Callable[[Any], list[float]]
    engine: str | None = None

    @property
    def title(self) -> str:
        """Name and engine."""
        return f"{self.name} + our engine" if self.engine == "ours" else self.name


def _in_json(path: str, name: str, *, as_list: bool) -> Callable[[bytes, str], bytes]:
    def request(picture: bytes, _: str) -> bytes:
        text = base64.b64encode(picture).decode()
        body = json.dumps({name: [text] if as_list else text}).encode()
        return post(path, body, "application/json")

    return request


def ours(query: str = "") -> Contestant:
    """Return our own service, asked with this query."""
    path = f"/predict?{query}" if query else "/predict"
    return Contestant(
        OURS,
        "app",
        lambda picture, media_type: post(path, picture, media_type),
        lambda answer: answer["predictions"][0]["probabilities"],
    )


def peers(engine: str) -> list[Contestant]:
    """Return the other servers, each with the pictures sent as it prefers."""
    return [
        Contestant(
            "litserve",
            "benchmarks.peers.litserve_server",
            _in_json("/predict", "image_data", as_list=False),
            lambda answer: answer["probabilities"],
            engine,
        ),
        Contestant(
            "bentoml",
            "benchmarks.peers.bentoml_service",
            _in_json("/predict", "images", as_list=True),
            lambda answer: answer[0]["probabilities"],
            engine,
        ),
        Contestant(
            "mosec",
            "benchmarks.peers.mosec_server",
            lambda picture, media_type: post("/inference", picture, media_type),
            lambda answer: answer["probabilities"],
            engine,
        ),
        Contestant(
            "fastapi-batcher",
            "benchmarks.peers.fastapi_batcher",
            lambda picture, media_type: post("/predict", picture, media_type),
            lambda answer: answer["probabilities"],
            engine,
        ),
    ]


def pictures_request(pictures: list[bytes], query: str = "") -> bytes:
    """Return a request of our own service with several pictures."""
    body, media_type = multipart("file", pictures, "image/png")
    return post(f"/predict?{query}" if query else "/predict", body, media_type)


class Running:
    """A contestant's server, and the broker that ours needs, while it runs.

    Args:
        contestant: whose.
        material: what it serves.
        options: more of a peer's command line.
    """

    def __init__(self, contestant: Contestant, material: Material, *options: str) -> None:
        self._contestant, self._material, self._options = contestant, material, options
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            start = self._start_ours if self._contestant.engine is None else self._start_peer
            self.server = start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _probe(self) -> bytes:
        return self._contestant.request(self._material.pictures[0], "image/png")

    def _start_ours(self, stack: ExitStack) -> Server:
        broker, port = free_port(), free_port()
        folder = self._material.store / "valkey"
        command = [sys.executable, "-m", "app.broker", f"--port={broker}", f"--folder={folder}"]
        stack.enter_context(Server("valkey", command, os.environ, broker, probe=None))
        settings = {
            **os.environ,
            "STILLHOUSE_PORT": str(port),
            "STILLHOUSE_STORE": str(self._material.store),
            "STILLHOUSE_REDIS_URL": f"redis://127.0.0.1:{broker}/0",
        }
        command = [sys.executable, "-m", self._contestant.module]
        return stack.enter_context(Server(OURS, command, settings, port, self._probe()))

    def _start_peer(self, stack: ExitStack) -> Server:
        port, material = free_port(), self._material
        command = [
            *(str(PEERS_PYTHON), "-m", self._contestant.module),
            *("--engine", str(self._contestant.engine), "--port", str(port)),
            *("--store", str(material.store), "--ensemble", material.ensemble, *self._options),
        ]
        name, environment = self._contestant.title, dict(os.environ)
        # `make` sets it for us; who uses other servers has never heard of it.
        environment.pop("OMP_WAIT_POLICY", None)
        return stack.enter_context(Server(name, command, environment, port, self._probe()))


def peers_are_installed(python: Path = PEERS_PYTHON) -> bool:
    """Say whether ``make bench-serve`` has made their environment."""
    return python.exists()
