"""LitServe: a FastAPI process, and workers that decode and compute, with a queue between them.

From its pages "Speed up serving by 200x", whose picture classifier takes base64 in JSON as this one
does, and "Batching": ``max_batch_size`` and ``batch_timeout`` on, several ``workers_per_device``.
From its own load test (tests/perf_test/bert/server.py): ``fast_queue``, log level "warning".
``num_api_servers`` is left at 1: more of them take time from the same cores.

Chosen: a worker a core with one thread each, batches of 8, which the loop answers with least CPU
time a picture, and a wait of 1 ms, since a lone request has to wait it out. Without any wait its
workers ask an empty queue as fast as they can.
"""

from typing import Any

import litserve
import numpy as np
import numpy.typing as npt

from benchmarks.peers.engines import as_json, decode_base64, load_engine
from benchmarks.peers.options import Options, read_options

BEST = Options(workers=2, threads=1, batch_size=8, wait_ms=1, servers=1)


class Peer(litserve.LitAPI):  # type: ignore[misc]  # not installed where types are checked
    """The four verbs."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        """Load the networks."""
        self.answer = load_engine(read_options(BEST))

    def decode_request(self, request: dict[str, str]) -> npt.NDArray[np.uint8]:
        """Decode one picture; LitServe stacks the arrays of a batch."""
        return decode_base64(request["image_data"])

    def predict(self, x: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Answer a batch, [n, k] from [n, s, s, 3]; LitServe deals out the rows."""
        return self.answer(x)

    def encode_response(self, output: npt.NDArray[np.float32]) -> dict[str, Any]:
        """Turn a row into JSON-ready data."""
        return as_json(output)


def main() -> None:
    """Serve until SIGTERM."""
    options = read_options(BEST)
    api = Peer(max_batch_size=options.batch_size, batch_timeout=options.wait_ms / 1000)
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        workers_per_device=options.workers,
        fast_queue=True,
        timeout=60,
    )
    server.run(
        host="127.0.0.1",
        port=options.port,
        num_api_servers=options.servers,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
