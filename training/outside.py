"""``python -m training.outside``: does an ensemble notice pictures of another data set?

Its doubts about the pictures it knows (test, or validation where its data set has no test) are
compared with its doubts about those of another data set, which should share no class with it.
What is found is printed and kept in the store as ``ensembles/<id>/outside-<data set>.json``.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from models.artefacts import write_json
from models.ensemble import Ensemble, EnsembleManifest
from models.errors import InvalidDataset, StillhouseError
from models.store import Store
from training.datasets import Dataset, Pictures, load_dataset
from training.metrics import auroc, ood_scores
from training.splits import train_and_validation

BATCH = 500


def main(arguments: list[str] | None = None) -> int:
    """Measure one ensemble against one data set; print and keep what is found."""
    parser = argparse.ArgumentParser(
        prog="python -m training.outside",
        description="How well an ensemble's doubts tell pictures of another data set from its own.",
    )
    parser.add_argument("--store", required=True, help="folder or fsspec URL of the store")
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--ensemble", metavar="ID", required=True, help="whose doubts to measure")
    parser.add_argument("--dataset", metavar="NAME", required=True, help="another than its own")
    options = parser.parse_args(arguments)
    try:
        store = Store(options.store)
        found = measure_outside(store, options.data, options.ensemble, options.dataset)
        file = f"ensembles/{options.ensemble}/outside-{options.dataset}.json"
        write_json(store.files, file, found)
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for side in ("inside", "outside"):
        print("{0}: {pictures:,} {split} pictures of {dataset}".format(side, **found[side]))
    for score, value in found["auroc"].items():
        print(f"AUROC of {score.replace('_', ' ')}: {value:.4f}")
    print(f"kept: {store.files.path(file)}")
    return 0


def measure_outside(store: Store, data: Path, id_: str, name: str) -> dict[str, Any]:
    """Return the AUROC of each score by which a picture may be told to be from outside.

    Args:
        store: of the ensemble; also keeps decoded pictures.
        data: folder of data sets.
        id_: the ensemble.
        name: the other data set; its test pictures count, or where it has none all for training.

    Returns:
        JSON-ready: ``ensemble``; ``inside`` and ``outside``, each with ``dataset``, ``split`` and
        ``pictures``; ``auroc`` by score, 0.5 where it tells nothing.

    Raises:
        EnsembleNotFound: there is none with this id.
        CorruptArtefact: a file of it is damaged.
        InvalidDataset: a data set is missing or malformed, the ensemble's is no longer what it
            was trained on, or the other is the same.
    """
    ensemble = store.load(id_)
    manifest = ensemble.manifest
    own_name = manifest.dataset["name"]
    own = load_dataset(own_name, data, store.files, size=manifest.size)
    if own.digest != manifest.dataset["digest"]:
        raise InvalidDataset(f"{data / own_name}: not the pictures {id_} was trained on")
    other = load_dataset(name, data, store.files, size=manifest.size)
    if other.digest == own.digest:
        raise InvalidDataset(f"{data / name}: the pictures {id_} was trained on; name others")
    inside_split, inside = _held_out(own, manifest)
    outside_split, outside = ("test", other.test) if other.test else ("train", other.train)

    ensemble.to("cuda" if torch.cuda.is_available() else "cpu")
    scores, other_scores = _scores(ensemble, inside), _scores(ensemble, outside)
    return {
        "ensemble": id_,
        "inside": {"dataset": own_name, "split": inside_split, "pictures": len(inside)},
        "outside": {"dataset": name, "split": outside_split, "pictures": len(outside)},
        "auroc": {score: auroc(scores[score], other_scores[score]) for score in scores},
    }


def _held_out(own: Dataset, manifest: EnsembleManifest) -> tuple[str, Pictures]:
    """Return pictures the ensemble was not trained on, and the name of their split."""
    if own.test is not None:
        return "test", own.test
    fraction = float(manifest.recipe["validation_fraction"])
    return "validation", train_and_validation(own, fraction)[1]


def _scores(ensemble: Ensemble, pictures: Pictures) -> dict[str, Tensor]:
    """Return ``ood_scores`` of all pictures, on the CPU; the members' answers are not kept."""
    device = next(ensemble.parameters()).device
    batches = tqdm(torch.split(pictures.images, BATCH), unit="batch", disable=None)
    found = [ood_scores(ensemble(batch.to(device)).log()) for batch in batches]
    return {score: torch.cat([of_batch[score] for of_batch in found]).cpu() for score in found[0]}


if __name__ == "__main__":
    sys.exit(main())
