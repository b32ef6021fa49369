"""The main job on real input: `make run`, a distilled ensemble, promoted, asked about pictures.

`make smoke` runs this: 2 ResNet-14 members, 2 epochs, a teacher, on 5,000 real CIFAR-100 pictures,
through the service that `make run` starts, and 100 test pictures answered by the new ensemble.
Minutes on two cores. Needs CIFAR-100 as a folder of zips or pictures (docs/recipes.md).
"""

import argparse
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from PIL import Image

from app.up import free_port
from models.files import Files
from models.store import Store
from training.datasets import Pictures, load_dataset

ROOT = Path(__file__).parent.parent.parent
TRAIN, TEST, ASKED = 50, 5, 100
"""Pictures of each class in the train and test split, and how many the new ensemble is asked."""

RECIPE: dict[str, Any] = {
    "name": "first-light",
    "dataset": "cifar100-small",
    "student": "resnet14",
    "members": 2,
    "epochs": 2,
    "teacher": {"student": "resnet20", "epochs": 2},
    "promote": "never",
}


def pack(pictures: Pictures, classes: tuple[str, ...], split: str, count: int, to: Path) -> None:
    """Write the first so many pictures of each class as a zip of PNGs."""
    with zipfile.ZipFile(to / f"{split}.zip", "w") as archive:
        for label, name in enumerate(classes):
            rows = (pictures.labels == label).nonzero().flatten()[:count]
            for number, image in enumerate(pictures.images[rows]):
                with archive.open(f"{split}/{name}/{number:03d}.png", "w") as file:
                    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")


def follow(client: httpx.Client, id_: str) -> dict[str, Any]:
    """Print a job's progress until it has ended and return it."""
    shown = ""
    while True:
        job: dict[str, Any] = client.get(f"/jobs/{id_}").raise_for_status().json()
        line = f"{job['status']}, {job['progress']:.0%}, {job['eta_seconds']} s left"
        if line != shown:
            print(f"  {line}", flush=True)
            shown = line
        if job["status"] not in {"queued", "running"}:
            return job
        time.sleep(2)


def exercise(client: httpx.Client, store: Store, asked: Pictures) -> None:
    """Everything that must hold, in order."""
    before = client.get("/ensembles").raise_for_status().json()["serving"]
    print(f"serving before: {before}")
    posted = client.post("/jobs/distill", json=RECIPE)
    assert posted.status_code == 202, posted.text
    job = follow(client, posted.json()["id"])
    assert job["status"] == "succeeded", job["error"]
    new = job["ensemble"]
    client.put("/ensembles/serving", json={"ensemble": new}).raise_for_status()
    print(f"promoted: {new}")

    files = []
    for number, image in enumerate(asked.images):
        file = io.BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "PNG")
        files.append(("file", (f"{number}.png", file.getvalue())))
    answer = client.post("/predict", files=files).raise_for_status().json()
    assert answer["ensemble"] == new, f"{answer['ensemble']} answered"
    probabilities = np.array([found["probabilities"] for found in answer["predictions"]])
    largest_sum = np.abs(probabilities.sum(axis=1) - 1).max()
    expected = store.load(new)(asked.images).mean(dim=0).numpy()
    largest = np.abs(probabilities - expected).max()
    print(f"{len(probabilities)} answers; sums are within {largest_sum:.1e} of 1,")
    print(f"probabilities within {largest:.1e} of the members' own average")
    assert len(probabilities) == len(asked)
    assert largest_sum < 1e-4
    assert largest < 1e-3


def main() -> int:
    """Run it all; 0 when it held."""
    parser = argparse.ArgumentParser(prog="python -m tests.smoke.first_light", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with cifar100")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as place:
        folder = Path(place)
        small = folder / "data" / str(RECIPE["dataset"])
        small.mkdir(parents=True)
        dataset = load_dataset("cifar100", options.data, Files(folder / "store"))
        assert dataset.test is not None
        pack(dataset.train, dataset.classes, "train", TRAIN, small)
        pack(dataset.test, dataset.classes, "test", TEST, small)
        print(f"packed {TRAIN * len(dataset.classes):,} real pictures to train on")
        port = free_port()
        environment = os.environ | {
            "STILLHOUSE_PORT": str(port),
            "STILLHOUSE_STORE": str(folder / "store"),
            "STILLHOUSE_DATA": str(folder / "data"),
        }
        started = time.monotonic()
        service = subprocess.Popen(["make", "run"], cwd=ROOT, env=environment)  # noqa: S607
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                wait_ready(client)
                print(f"ready {time.monotonic() - started:.1f} s after make run")
                asked = torch.arange(0, len(dataset.test), len(dataset.test) // ASKED)
                exercise(client, Store(folder / "store"), dataset.test.select(asked))
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(timeout=60)
    print("all of it held")
    return 0


def wait_ready(client: httpx.Client, seconds: float = 600) -> None:
    """Wait until the service can answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise TimeoutError(f"not ready after {seconds} s")


if __name__ == "__main__":
    sys.exit(main())
