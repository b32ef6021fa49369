"""``python -m benchmarks.tune``: looks for the configuration in which each other server does best.

What each documentation says to try is tried: sizes of batches, waits, workers, threads. What was
found best is written into the server's own file, as ``BEST``, with the reasons.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.contestants import Running, peers
from benchmarks.material import make_material
from benchmarks.measures import NotMeasured, Visit, latency, throughput
from benchmarks.servers import DidNotStart, end_on_signals

ALTERNATIVES = {
    "litserve": [
        "--workers 2 --threads 1 --batch-size 4 --wait-ms 1",
        "--workers 2 --threads 1 --batch-size 8 --wait-ms 1",
        "--workers 2 --threads 1 --batch-size 16 --wait-ms 1",
        "--workers 2 --threads 1 --batch-size 16 --wait-ms 10",
        "--workers 2 --threads 1 --batch-size 8 --wait-ms 1 --servers 2",
        "--workers 1 --threads 2 --batch-size 16 --wait-ms 1",
    ],
    "bentoml": [
        "--workers 2 --threads 1 --batch-size 8 --wait-ms 10000",
        "--workers 2 --threads 1 --batch-size 16 --wait-ms 10000",
        "--workers 1 --threads 2 --batch-size 8 --wait-ms 10000",
        "--workers 1 --threads 2 --batch-size 16 --wait-ms 10000",
        "--workers 1 --threads 2 --batch-size 32 --wait-ms 10000",
    ],
    "mosec": [
        "--workers 2 --threads 1 --batch-size 4 --wait-ms 1",
        "--workers 2 --threads 1 --batch-size 8 --wait-ms 1",
        "--workers 2 --threads 1 --batch-size 16 --wait-ms 10",
        "--workers 2 --threads 1 --batch-size 8 --wait-ms 1 --decoders 1",
        "--workers 1 --threads 2 --batch-size 16 --wait-ms 1",
    ],
    "fastapi-batcher": [
        "--workers 2 --threads 1 --batch-size 8",
        "--workers 2 --threads 1 --batch-size 16",
        "--workers 1 --threads 2 --batch-size 8",
        "--workers 1 --threads 2 --batch-size 16",
        "--workers 1 --threads 2 --batch-size 32",
    ],
}


def main() -> int:
    """Print throughput and latency of every alternative."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__)
    parser.add_argument("peers", nargs="*", default=list(ALTERNATIVES))
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--engine", choices=("torch-loop", "ours"), default="torch-loop")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)
    end_on_signals()
    with tempfile.TemporaryDirectory() as folder:
        material = make_material(Path(folder), 64, None)
        for contestant in peers(options.engine):
            for arguments in ALTERNATIVES[contestant.name]:
                if contestant.name not in options.peers:
                    continue
                print(f"{contestant.name} {arguments}: ", end="", flush=True)
                try:
                    with Running(contestant, material, *arguments.split()) as running:
                        seconds = options.seconds
                        visit = Visit(contestant, running.server, material, cores[-1], seconds)
                        many, one = throughput(visit), latency(visit)
                except (DidNotStart, NotMeasured) as error:
                    print(error)
                    continue
                print(
                    f"{many['pictures_per_second']:.0f}/s, p99 {many['p99_ms']:.0f} ms, "
                    f"{many['pictures_per_cpu_second']:.0f} per CPU second, "
                    f"{many['failures']:.0f} failures; alone {one['p50_ms']:.1f} ms"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
