"""Memory that really runs out makes the plan smaller, and the run ends with its ensemble."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import write_dataset

SCRIPT = """
import logging, resource, sys
from dataclasses import replace
from pathlib import Path

import torch
torch.set_num_threads(1)

from models.store import Store
from tests.tiny import RECIPE, go_on, ignore
from training.distill import distill
from training.footprint import resident_bytes
from training.progress import MemoryPlanned

logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
data, store = Path(sys.argv[1]), Store(sys.argv[2], release=Path("none"))
recipe = replace(RECIPE, student="resnet26", batch_size=256, members=1, epochs=1)

# A first run loads what is loaded once: threads, modules and kernels, whose making would not
# survive for want of memory. It is a small one: what it frees stays the process's own, and must
# not be room for the plan that is to fail.
first = replace(recipe, seed=1)
little = resident_bytes() + 512 * 2**20
distill(first, data, store, "first", report=ignore, check=go_on, limit_bytes=little)

def report(event):
    if isinstance(event, MemoryPlanned):
        print("planned:", event.plan)

# Together with that, room for a small plan but not for the first.
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 160 * 2**20, resource.RLIM_INFINITY))
made = distill(recipe, data, store, "within", report=report, check=go_on)
print("ensemble:", made.id)
"""


ONE_HEAP = {"MALLOC_ARENA_MAX": "1"}
"""Without it each thread has a heap of its own, and what is free in one is no room for another."""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit that is kept")
def test_a_run_goes_on_with_a_smaller_plan_while_there_is_one(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data/noise", train=86)  # enough for one large batch
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "data"), str(tmp_path / "store")]
    environment = {**os.environ, **ONE_HEAP}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    plans = re.findall(r"^planned: (.*)$", done.stdout, re.MULTILINE)
    assert len(plans) >= 2, done.stdout
    assert ", 256 pictures at a time; " in plans[0]
    assert ", 256 pictures at a time, activations computed twice; " in plans[1]
    assert done.stdout.count("memory ran out with: ") == len(plans) - 1
    assert f"going on with: {plans[-1]}" in done.stdout
    assert re.search(r"^ensemble: tiny-[0-9a-f]{8}$", done.stdout, re.MULTILINE), done.stdout
