"""A tiny data set, recipe and ensemble, real in every part, for the tests of many modules."""

import atexit
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from models.ensemble import EnsembleManifest, Normalisation
from models.resnet import build_network
from models.store import Store
from training.doubt import fit_doubt
from training.progress import Event
from training.recipe import Recipe

COLOURS = {
    "blue": (60, 60, 160),
    "green": (60, 160, 60),
    "grey": (110, 110, 110),
    "red": (160, 60, 60),
}
"""Mean colour of the pictures of each class, in id order."""

RECIPE = Recipe(
    name="tiny",
    dataset="noise",
    student="resnet8",
    members=2,
    teacher=(),
    teacher_views=0,
    optimiser="sgd",
    distillation_loss="kl",
    epochs=2,
    batch_size=16,
    learning_rate=0.05,
    precision="fp32",
    validation_fraction=0.25,
)


def write_dataset(folder: Path, *, seed: int = 0, **splits: int) -> Path:
    """Write pictures of coloured noise, so many per class in each split, and return the folder."""
    rng = np.random.default_rng(seed)
    for split, count in (splits or {"train": 24, "test": 8}).items():
        for label, colour in COLOURS.items():
            place = folder / split / label
            place.mkdir(parents=True)
            for number in range(count):
                noise = rng.normal(colour, 60, (32, 32, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(noise).save(place / f"{number}.png")
    return folder


def publish(store: Store, *, seed: int = 0, members: int = 2, **changes: Any) -> EnsembleManifest:
    """Publish untrained members and made-up predictions; ``changes`` are the manifest's fields."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = [build_network("resnet8", len(COLOURS)) for _ in range(members)]
        predictions = torch.randn(members, 5, len(COLOURS)).log_softmax(dim=-1)
    manifest = EnsembleManifest(
        id="",
        name="tiny",
        network="resnet8",
        classes=tuple(COLOURS),
        size=32,
        normalisation=Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
        members=(),
        temperature=1.0,
        recipe=RECIPE.to_dict(),
        dataset={"name": "noise", "digest": "of the pictures"},
        teachers=(),
        metrics={"validation": {"pictures": 24, "pooled": {"accuracy": 0.5}}},
        created_at="2026-01-01T00:00:00+00:00",
    )
    weights = [network.state_dict() for network in networks]
    return store.publish(replace(manifest, **changes), weights, {"validation": predictions})


def doubt() -> dict[str, Any]:
    """Return what is fitted on made-up predictions of 400 pictures."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % len(COLOURS)
    logits = torch.randn(3, 400, len(COLOURS), generator=generator)
    logits[:, torch.arange(400), labels] += 1.5
    return fit_doubt(logits.log_softmax(dim=-1), labels, 1.0).to_dict()


SMALL_RELEASE = "release-tiny"


@cache
def small_release() -> Path:
    """Return a folder with a tiny ensemble that ships: the real one takes seconds to be loaded."""
    folder = Path(tempfile.mkdtemp(prefix="small-release-"))
    atexit.register(shutil.rmtree, folder)
    store = Store(folder / "store", folder / "none")
    store.export(publish(store, seed=99).id, folder / "release", SMALL_RELEASE)
    return folder / "release"


def same_weights(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Say whether two networks have the same weights and statistics, bit for bit."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[key], tensor) for key, tensor in theirs.items()
    )


def noise(n: int, seed: int = 0) -> Tensor:
    """Return pictures of noise, uint8 [n, 3, 32, 32]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=generator)


def ignore(_: Event) -> None:
    """Report to nobody."""


def go_on() -> None:
    """Let the work continue: a check that never stops it."""


def on_a_disk_of_64_kib(folder: Path, script: str) -> str:
    """Run Python where ``folder`` is a small disk, seen by nobody else, and return its stdout."""
    folder.mkdir(exist_ok=True)
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=64k tiny '{folder}'"
    if not shutil.which("unshare") or subprocess.run([*alone, mount], check=False).returncode:
        pytest.skip("a small disk needs Linux and the right to make a mount namespace")
    command = [*alone, f'{mount} && exec "$0" "$@"', sys.executable, "-c", script]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
