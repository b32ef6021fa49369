"""mosec: a pipeline of processes behind a Rust web layer.

From its README, "Performance tuning" and "Configuration": dynamic batching on, ``max_batch_size``
and ``max_wait_time`` to be found by trying, the wait below the time of a batch, threads set for
each worker, a body that is not JSON for pictures, an example to warm up with. It also asks for
decoding as a stage of its own, to keep a GPU busy: ``--decoders 1`` is that. Where computing and
decoding share two cores, and decoding 32 x 32 pixels takes a thousandth of computing, the stage
only adds a hop between processes, so decoding stays with computing.

Chosen: a worker a core with one thread each, batches of 8, which the loop answers with least CPU
time a picture, and the shortest wait there is, since a lone request has to wait it out.
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
from mosec import Server, Worker

from benchmarks.peers.engines import as_json, decode, load_engine
from benchmarks.peers.options import Options, read_options

BEST = Options(workers=2, threads=1, batch_size=8, wait_ms=1, decoders=0)


class Decode(Worker):  # type: ignore[misc]  # mosec is not installed where types are checked
    """The first stage, where there are two: a picture from the bytes of a request."""

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it is."""
        return data

    def forward(self, data: bytes) -> npt.NDArray[np.uint8]:
        """Decode one picture."""
        return decode(data)


class Infer(Worker):  # type: ignore[misc]  # mosec is not installed where types are checked
    """The stage that computes, with dynamic batching."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = load_engine(read_options(BEST))
        # Warmed up, as its README asks: the service is ready only after this went through.
        self.answer(np.zeros((1, 32, 32, 3), np.uint8))

    def forward(self, data: list[npt.NDArray[np.uint8]]) -> list[dict[str, Any]]:
        """Answer a batch."""
        return [as_json(row) for row in self.answer(np.stack(data))]


class DecodeAndInfer(Infer):
    """The only stage, where there is one: it decodes and computes."""

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it is."""
        return data

    def forward(self, data: list[Any]) -> list[dict[str, Any]]:
        """Decode and answer a batch."""
        return super().forward([decode(file) for file in data])


def main() -> None:
    """Serve until SIGTERM."""
    options = read_options(BEST)
    os.environ["MOSEC_PORT"], os.environ["MOSEC_ADDRESS"] = str(options.port), "127.0.0.1"
    os.environ["MOSEC_TIMEOUT"] = "60000"  # ms; by default it gives up after 3 s
    os.environ["MOSEC_LOG_LEVEL"] = "warning"
    server = Server()
    wait = max(1, round(options.wait_ms))
    batching = {"max_batch_size": options.batch_size, "max_wait_time": wait}
    if options.decoders:
        server.append_worker(Decode, num=options.decoders)
        server.append_worker(Infer, num=options.workers, **batching)
    else:
        server.append_worker(DecodeAndInfer, num=options.workers, **batching)
    server.run()


if __name__ == "__main__":
    main()
