"""FastAPI with a small asyncio batcher, as people write one who want no framework for it.

A picture is the raw body, threads decode, and a batch is whatever has gathered while the one before
was computed, so a lone request never waits. FastAPI's page "Server Workers" has a process a core.

Chosen: that, with one thread of torch each, and batches of 8, which the loop answers with least CPU
time a picture.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import uvicorn
from fastapi import FastAPI, Request

from benchmarks.peers.engines import as_json, decode, load_engine
from benchmarks.peers.options import Options, read_options

BEST = Options(workers=2, threads=1, batch_size=8, wait_ms=0)
OPTIONS = read_options(BEST)

Waiting = tuple[npt.NDArray[np.uint8], "asyncio.Future[npt.NDArray[np.float32]]"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load the networks and start batching."""
    app.state.queue = asyncio.Queue()
    app.state.decoders = ThreadPoolExecutor(os.cpu_count())
    batcher = asyncio.create_task(batch_forever(app.state.queue))
    yield
    batcher.cancel()


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    """Answer one picture, the body of the request."""
    loop = asyncio.get_running_loop()
    picture = await loop.run_in_executor(app.state.decoders, decode, await request.body())
    answered: asyncio.Future[npt.NDArray[np.float32]] = loop.create_future()
    app.state.queue.put_nowait((picture, answered))
    return as_json(await answered)


async def batch_forever(queue: "asyncio.Queue[Waiting]") -> None:
    """Answer whatever has gathered while the batch before was computed."""
    loop = asyncio.get_running_loop()
    engine = ThreadPoolExecutor(1)
    answer = await loop.run_in_executor(engine, load_engine, OPTIONS)
    while True:
        batch = [await queue.get()]
        if OPTIONS.wait_ms:
            await asyncio.sleep(OPTIONS.wait_ms / 1000)
        while not queue.empty() and len(batch) < OPTIONS.batch_size:
            batch.append(queue.get_nowait())
        pictures = np.stack([picture for picture, _ in batch])
        for row, (_, answered) in zip(
            await loop.run_in_executor(engine, answer, pictures), batch, strict=True
        ):
            if not answered.done():
                answered.set_result(row)


def main() -> None:
    """Serve until SIGTERM."""
    uvicorn.run(
        "benchmarks.peers.fastapi_batcher:app",
        host="127.0.0.1",
        port=OPTIONS.port,
        workers=OPTIONS.workers,
        timeout_worker_healthcheck=120,  # importing torch on a busy machine takes more than 5 s
        access_log=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
