"""``python -m benchmarks.accuracy``: what the release answers on CIFAR-100's 10,000 test pictures.

Computed anew from the weights that ship, not read from the manifest; both are printed, and a
difference ends with status 1.
"""

import argparse
import sys
from pathlib import Path

import torch

from models.store import Store
from training.datasets import load_dataset
from training.metrics import evaluate

NAMES = ("accuracy", "top5_accuracy", "nll", "ece")


def main() -> int:
    """Print members' mean, pooled and calibrated figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of data sets")
    parser.add_argument("--store", default="store", help="also holds the decoded pictures")
    parser.add_argument("--ensemble", metavar="ID", help="another than the release")
    options = parser.parse_args()
    store = Store(options.store)
    id_ = options.ensemble or store.main_release()
    if id_ is None:
        print("error: there is no release", file=sys.stderr)
        return 2
    ensemble = store.load(id_)
    test = load_dataset("cifar100", options.data, store.files).test
    if test is None:
        print(f"error: {options.data}/cifar100 has no test pictures", file=sys.stderr)
        return 2
    probabilities = torch.cat([ensemble(batch) for batch in test.images.chunk(20)], dim=1)
    found = evaluate(probabilities.log(), test.labels, ensemble.manifest.temperature)
    stated = ensemble.manifest.metrics["test"]
    print(f"{ensemble.manifest.id}, {found['pictures']:,} test pictures")
    print(f"{'':>14}" + "".join(f"{name:>16}" for name in NAMES))
    differs = False
    for row in ("members_mean", "pooled", "calibrated"):
        print(f"{row:>14}" + "".join(f"{found[row][name]:>16.4f}" for name in NAMES))
        differs |= any(abs(found[row][name] - stated[row][name]) > 1e-3 for name in NAMES)
    if differs:
        print("error: the manifest states other figures", file=sys.stderr)
    return int(differs)


if __name__ == "__main__":
    sys.exit(main())
