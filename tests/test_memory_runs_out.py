"""Memory that really runs out makes the plan smaller, and the run ends with its ensemble."""

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

from models.errors import NotEnoughMemory
from models.store import Store
from tests.tiny import RECIPE, go_on, ignore
from training.distill import distill
from training.footprint import training_bytes
from training.progress import MemoryPlanned

logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(message)s")
data, store = Path(sys.argv[1]), Store(sys.argv[2], release=Path("none"))
recipe = replace(RECIPE, student="resnet14", batch_size=256, members=1, epochs=1)

# A first run with small batches loads what is loaded once: threads, kernels, modules.
first = replace(recipe, batch_size=32, validation_fraction=0.5)
distill(first, data, store, "first", report=ignore, check=go_on)
_, each = training_bytes("resnet14", 32, 4, "fp32", recompute=False)

def report(event):
    if isinstance(event, MemoryPlanned):
        print("planned:", event.plan)

for share in map(float, sys.argv[3:]):
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = held + int(share * 256 * each)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    print("within:", share)
    try:
        made = distill(recipe, data, store, f"within-{share}", report=report, check=go_on)
        print("ensemble:", made.id)
    except NotEnoughMemory as error:
        print("error:", error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit that is kept")
def test_a_run_goes_on_with_a_smaller_plan_while_there_is_one(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data/noise", train=86)  # enough for one large batch
    # Of what a batch needs there is at first hardly anything, then half.
    folders = [str(tmp_path / "data"), str(tmp_path / "store")]
    command = [sys.executable, "-c", SCRIPT, *folders, "0.08", "0.55"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, hardly_any, half = done.stdout.split("within: ")

    assert "ensemble: " not in hardly_any
    no_smaller = "error: memory ran out, and there is no smaller plan than: 1 one by one on cpu"
    assert no_smaller in hardly_any

    plans = re.findall(r"^planned: (.*)$", half, re.MULTILINE)
    assert len(plans) >= 2, half
    assert ", 256 pictures at a time; " in plans[0]
    assert ", 256 pictures at a time, activations computed twice; " in plans[1]
    assert half.count("memory ran out with: ") == len(plans) - 1
    assert f"going on with: {plans[-1]}" in half
    assert re.search(r"^ensemble: tiny-[0-9a-f]{8}$", half, re.MULTILINE), half
