"""The engine alone, against what the cores can do at most.

``python -m benchmarks.limit`` measures in a process of its own and prints JSON, so that nothing of
it is left when a server runs.

The limit: multiply-adds of all members for one picture, counted in their convolutions and linear
layers (what BatchNorm, activations and sums cost is the engine's to hide), divided by how many the
cores do in a large matrix product of the same precision.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers.engines import Answer, load_ours, load_torch_loop
from models.ensemble import Ensemble
from models.store import Store

BATCHES = (1, 8, 64, 256)
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
MATRIX = 2048
"""Rows and columns; 8 MiB or 16 MiB a matrix, and 8.6e9 multiply-adds a product."""


def multiply_adds(ensemble: Ensemble) -> int:
    """Return the multiply-adds of one picture through all members."""
    counted = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            counted += output.numel() * (module.in_channels // module.groups) * height * width
        elif isinstance(module, nn.Linear):
            counted += output.numel() * module.in_features

    hooks = [module.register_forward_hook(count) for module in ensemble.modules()]
    try:
        size = ensemble.manifest.size
        ensemble(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    finally:
        for hook in hooks:
            hook.remove()
    return counted


def peak_multiply_adds(precision: torch.dtype, seconds: float) -> float:
    """Return the most multiply-adds a second that a large matrix product reached."""
    one, other = (torch.randn(2, MATRIX, MATRIX) * 10).to(precision)
    multiply = torch._int_mm if precision == torch.int8 else torch.mm  # has no other name
    with torch.inference_mode():
        best = best_seconds(lambda: multiply(one, other), seconds)
    return float(MATRIX**3 / best)


def pictures_a_second(answer: Answer, size: int, batch: int, seconds: float) -> float:
    """Return how many pictures an engine answers in batches, by the fastest of them."""
    pictures = np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), dtype=np.uint8)
    return batch / best_seconds(lambda: answer(pictures), seconds)


def best_seconds(do: Callable[[], Any], seconds: float) -> float:
    """Return the fastest of as many calls as fit in the time given, after one that warms up.

    The fastest, since whatever else runs on these cores only ever adds.
    """
    do()
    best, end = float("inf"), time.perf_counter() + seconds
    while True:
        started = time.perf_counter()
        do()
        ended = time.perf_counter()
        best = min(best, ended - started)
        if ended > end:
            return best


def main() -> int:
    """Print the limit, and an engine's pictures a second by size of batch."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limit", description=__doc__)
    parser.add_argument("--store", required=True)
    parser.add_argument("--ensemble", required=True)
    parser.add_argument("--engine", choices=("torch-loop", "ours"), required=True)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each thing measured")
    options = parser.parse_args()
    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    ensemble = Store(options.store).load(options.ensemble)
    load = load_ours if options.engine == "ours" else load_torch_loop
    answer, precision = load(options.store, options.ensemble, threads)
    size = ensemble.manifest.size
    found = {
        "multiply_adds": multiply_adds(ensemble),
        "precision": precision,
        "peak": {
            name: peak_multiply_adds(kind, options.seconds) for name, kind in PRECISIONS.items()
        },
        "pictures_a_second": {
            batch: pictures_a_second(answer, size, batch, options.seconds) for batch in BATCHES
        },
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
