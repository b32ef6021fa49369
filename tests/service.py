"""The service behind a real socket in this process, and what tests ask of it over HTTP."""

import io
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import uvicorn
from PIL import Image

from app.service import create_app
from app.settings import Settings

T = TypeVar("T")
PROBLEM = "application/problem+json"


def settings_for(folder: Path, redis_url: str, **changes: Any) -> Settings:
    """Return settings of a service whose store and data are in a folder."""
    fields = {
        "store": str(folder / "store"),
        "data": folder / "data",
        "redis_url": redis_url,
        "follow_seconds": 0.05,
        "sweep_seconds": 3600.0,
    }
    return Settings(**{**fields, **changes})


@contextmanager
def running(settings: Settings) -> Iterator[httpx.Client]:
    """Serve the application on a free port and give a client of it."""
    config = uvicorn.Config(
        create_app(settings), port=0, log_config=None, access_log=False, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    with closing(config.bind_socket()) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            host, port = listener.getsockname()
            with httpx.Client(base_url=f"http://{host}:{port}", timeout=30) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def wait_until(look: Callable[[], T], seconds: float = 120) -> T:
    """Look again and again until what is seen is true, and return it."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.02)
    return seen


def picture(seed: int = 0, format: str = "PNG", size: tuple[int, int] = (32, 32)) -> bytes:  # noqa: A002  # Pillow's word
    """Return a file with a picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def parts(*files: bytes | tuple[str, bytes]) -> list[tuple[str, tuple[str, bytes]]]:
    """Return files as the multipart body of POST /predict; they may come with their names."""
    named = [
        file if isinstance(file, tuple) else (f"{n}.png", file) for n, file in enumerate(files)
    ]
    return [("file", file) for file in named]


def problem_of(response: httpx.Response, status: int, type_: str) -> dict[str, Any]:
    """Check that a response tells a problem of this kind, and return it."""
    assert (response.status_code, response.headers["content-type"]) == (status, PROBLEM), (
        response.text
    )
    problem: dict[str, Any] = response.json()
    assert problem["type"] == f"urn:stillhouse:problem:{type_}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem
