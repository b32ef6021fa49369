"""What every peer is told on its command line, and how its worker processes hear of it."""

import argparse
import json
import os
from dataclasses import asdict, dataclass, replace
from typing import Literal

ENGINES = ("torch-loop", "ours")
_VARIABLE = "PEER_OPTIONS"


@dataclass(frozen=True)
class Options:
    """How one peer serves.

    Attributes:
        workers: processes that compute.
        threads: of torch in each of them.
        batch_size: most pictures computed together.
        wait_ms: longest wait for a batch to fill, in milliseconds.
        decoders: processes that only decode, where a peer knows such.
        servers: processes that speak HTTP, where a peer lets its users choose.
        engine: the loop that users write, or our own engine.
        store: folder of the ensemble.
        ensemble: its id.
        port: of loopback.
    """

    workers: int
    threads: int
    batch_size: int
    wait_ms: float
    decoders: int = 0
    servers: int = 1
    engine: Literal["torch-loop", "ours"] = "torch-loop"
    store: str = ""
    ensemble: str = ""
    port: int = 0


def read_options(best: Options, best_with_ours: Options | None = None) -> Options:
    """Return the options of this process: its command line's, or those of the process it is from.

    Args:
        best: the configuration that was found best, with the loop that users write.
        best_with_ours: the same with our engine, where it is another one.
    """
    told = os.environ.get(_VARIABLE)
    if told is not None:
        return Options(**json.loads(told))
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=ENGINES, default="torch-loop")
    parser.add_argument("--store", required=True)
    parser.add_argument("--ensemble", required=True)
    parser.add_argument("--port", type=int, required=True)
    for name, kind in (
        *((name, int) for name in ("workers", "threads", "batch-size", "decoders", "servers")),
        ("wait-ms", float),
    ):
        parser.add_argument(f"--{name}", type=kind)
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    start = best_with_ours if best_with_ours and given["engine"] == "ours" else best
    options = replace(start, **given)
    # Spawned workers import the module anew and have no command line of their own.
    os.environ[_VARIABLE] = json.dumps(asdict(options))
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    return options
