"""BentoML: a service with an adaptively batched endpoint.

From its pages "Adaptive batching": ``batchable=True``, whose dispatcher learns by itself how long
to wait, ``max_batch_size`` by what the machine can do, ``max_latency_ms`` raised where it answers
503; and "Parallelize requests handling": ``workers="cpu_count"`` for CPUs. An endpoint that batches
takes lists, so a request is a list of one picture, base64 in JSON. Metrics, access log and usage
reports are off.

Chosen: a worker a core with one thread each, and batches of 8, which the loop answers with least
CPU time a picture.
"""

import os
import sys
from typing import Any

import bentoml
import numpy as np

from benchmarks.peers.engines import as_json, decode_base64, load_engine
from benchmarks.peers.options import Options, read_options

BEST = Options(workers=2, threads=1, batch_size=8, wait_ms=10_000)
OPTIONS = read_options(BEST)


@bentoml.service(
    workers=OPTIONS.workers,
    traffic={"timeout": 60},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
class Peer:
    """The service."""

    def __init__(self) -> None:
        self.answer = load_engine(OPTIONS)

    @bentoml.api(  # type: ignore[untyped-decorator]
        batchable=True, max_batch_size=OPTIONS.batch_size, max_latency_ms=int(OPTIONS.wait_ms)
    )
    def predict(self, images: list[str]) -> list[dict[str, Any]]:
        """Answer the pictures, base64 each, of one or more requests."""
        pictures = np.stack([decode_base64(image) for image in images])
        return [as_json(row) for row in self.answer(pictures)]


def main() -> None:
    """Become BentoML's server."""
    command = ["serve", "benchmarks.peers.bentoml_service:Peer", "--port", str(OPTIONS.port)]
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    os.execv(  # noqa: S606  # there is no shell to be careful of
        sys.executable, [sys.executable, "-m", "bentoml", *command, "--host", "127.0.0.1"]
    )


if __name__ == "__main__":
    main()
