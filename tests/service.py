"""The service behind a real socket in this process, and what tests ask of it over HTTP."""

import atexit
import io
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image
from redis import Redis

from app.connections import bounded
from app.heartbeat import Heartbeat
from app.jobs import Jobs
from app.live import LiveWork
from app.pieces import PREFIX
from app.queue import QUEUE
from app.service import create_app
from app.settings import Settings
from models.choice import choose
from models.cores import Cores
from models.store import Store
from tests.tiny import SMALL_RELEASE, small_release
from training.progress import EpochDone, Part, Planned, PlannedPart

T = TypeVar("T")
PROBLEM = "application/problem+json"


def settings_for(folder: Path, redis_url: str, **changes: Any) -> Settings:
    """Return settings of a service whose store and data are in a folder."""
    fields = {
        "store": str(folder / "store"),
        "data": folder / "data",
        "release": small_release(),
        "redis_url": redis_url,
        "follow_seconds": 0.05,
        "sweep_seconds": 3600.0,
        "engine_threads": 1,  # builds and times the fewest engines
    }
    settings = Settings(**{**fields, **changes})
    if settings.release == small_release():
        keep_choices(Path(settings.store))
    return settings


def keep_choices(store: Path) -> None:
    """Have a store know the engines for what ships, as if a service on one core had chosen them."""
    shutil.copytree(_choices(), store / "engines", dirs_exist_ok=True)


@cache
def _choices() -> Path:
    """Return the choice of engines for what ships, kept as by an earlier start, so made once."""
    folder = Path(tempfile.mkdtemp(prefix="choices-"))
    atexit.register(shutil.rmtree, folder)
    store = Store(folder, small_release())
    choose(store.load(SMALL_RELEASE), Cores(1), store.files)
    return folder / "engines"


@contextmanager
def running(settings: Settings, application: FastAPI | None = None) -> Iterator[httpx.Client]:
    """Serve the application, or one made of it, on a free port and give a client of it."""
    application = application or create_app(settings)
    config = uvicorn.Config(
        application,
        http=bounded(application.state.service),
        port=0,
        log_config=None,
        access_log=False,
        ws="none",
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    with closing(config.bind_socket()) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            host, port = listener.getsockname()
            with httpx.Client(
                base_url=f"http://{host}:{port}",
                timeout=30,
                verify=False,  # noqa: S501  # reading certificates takes longer than most tests
            ) as client:
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


def same_answer(one: Any, other: Any) -> bool:
    """Say whether two answers are the same but for rounding, which depends on a batch's size."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_answer(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_answer, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) < 1e-5
    return bool(one == other)


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


def ask(client: httpx.Client, *files: bytes | tuple[str, bytes], **query: Any) -> dict[str, Any]:
    """Return the answer of POST /predict to these pictures."""
    response = client.post("/predict", files=parts(*files), params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def post(
    client: httpx.Client,
    recipe: Any = None,
    key: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """Ask for an ensemble."""
    once = {} if key is None else {"Idempotency-Key": key}
    return client.post("/jobs/distill", json=recipe or {}, headers={**once, **(headers or {})})


def accepted(client: httpx.Client, recipe: Any = None) -> str:
    """Ask for an ensemble and return the id of its job."""
    response = post(client, recipe)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def messages(redis: Redis) -> list[str]:
    """Return the ids of the jobs that the queue speaks of, next first."""
    waiting = reversed(redis.lrange(QUEUE, 0, -1))
    return [json.loads(message)["headers"]["argsrepr"].strip("(',)") for message in waiting]


def epochs_told(redis: Redis, id_: str) -> list[tuple[str, int, int]]:
    """Return role, index and number of every epoch that a job's events tell of, sorted."""
    entries: Any = redis.xrange(f"{PREFIX}{id_}:events")
    events = [fields for _, fields in entries]
    epochs = [json.loads(fields["data"]) for fields in events if fields["event"] == "epoch"]
    return sorted((each["role"], each["index"], each["epoch"]) for each in epochs)


def worker_on(jobs: Jobs, id_: str) -> Heartbeat:
    """Return a worker on a job that trains nothing; it is there within a ``with`` block."""
    return Heartbeat(jobs, LiveWork(id_), stopping=lambda: False)


def finish(jobs: Jobs, id_: str) -> None:
    """Let a worker take a job, train an epoch of it and fail."""
    first = Part("member")
    with worker_on(jobs, id_) as worker:
        jobs.begin(id_, alone=True)
        worker.report(Planned((PlannedPart(first, "resnet8", 2, 1e9),)))
        worker.report(EpochDone(first, 1, 2, train_loss=1.0, val_accuracy=0.5, seconds=1.0))
        jobs.finish(worker.job(), "failed")
    jobs.forget(id_)
