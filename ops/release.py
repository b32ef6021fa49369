"""``make release``: train the ensemble that ships with the code and put it into models/release/.

Hours on a CPU. Interrupted, the same command goes on from the last epoch. An ensemble of the same
recipe that is in the store already is released as it is with ``--ensemble ID``.
"""

import argparse
import logging
import shutil
import sys
from pathlib import Path

from models.store import RELEASE_FOLDER, Store
from training.distill import distill, forget_run
from training.recipe import Recipe, TrainedTeacher
from training.terminal import Terminal

RELEASE = Recipe(
    name="release-resnet14-4-members",
    student="resnet14",
    members=4,
    epochs=8,
    # Little larger than its students: what two CPU cores train in a quarter of an hour.
    teacher=(TrainedTeacher("resnet20", epochs=8),),
    teacher_views=0,
    optimiser="sgd",
    distillation_loss="kl",
    promote="never",
)

RUN = "release"
"""Name of the run's checkpoints in the store."""


def main() -> int:
    """Train, or take what is trained, and replace the release."""
    parser = argparse.ArgumentParser(prog="python -m ops.release", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of data sets")
    parser.add_argument("--store", default="store", help="where checkpoints go")
    parser.add_argument("--ensemble", metavar="ID", help="release this one of the store")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    store = Store(options.store)
    id_ = options.ensemble
    if id_ is None:
        with Terminal() as terminal:
            made = distill(RELEASE, options.data, store, RUN, report=terminal, check=lambda: None)
        if made is None:
            raise RuntimeError("with every piece claimed, none can be in other hands")
        id_ = made.id
    elif store.manifest(id_).recipe != RELEASE.to_dict():
        print(f"error: {id_} was made with another recipe than RELEASE", file=sys.stderr)
        return 2
    if RELEASE_FOLDER.exists():
        shutil.rmtree(RELEASE_FOLDER)
    manifest = store.export(id_, RELEASE_FOLDER, RELEASE.name)
    forget_run(store, RUN)
    print(f"released {manifest.id}: {manifest.bytes:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
