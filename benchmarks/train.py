"""``make bench-train``: training against the seed's loop, and memory for 2 and for 10 members.

Every ratio is of two measurements taken one after the other, several times over; medians are
printed with their spread. Pictures are noise: how fast a step is does not depend on what they show.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.seed_loop import train_as_the_seed
from models.ensemble import EnsembleManifest, Normalisation
from models.files import Files
from models.resnet import build_network
from models.store import Store
from training.checkpoints import Checkpoints
from training.datasets import Pictures, load_dataset
from training.distill import distill, forget_run
from training.fit import Lesson, Run, fit
from training.footprint import resident_bytes
from training.heap import use_one_heap
from training.progress import EpochDone, Evaluating, Event, MemoryPlanned, Part
from training.recipe import EnsembleTeacher, Recipe
from training.views import FreshViews
from training.work import normalisation_of

CLASSES = 10
PLAIN = Recipe(
    name="bench", dataset="noise", members=10, teacher=(), epochs=1, validation_fraction=0.05
)
TEACHER = "resnet50"
"""The seed's own; its training is no part of any figure here, its answers are."""
LIMIT_BYTES = 8 * 2**30


def main() -> int:
    """Print every figure, the ratios last."""
    use_one_heap()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=2560)
    parser.add_argument("--memory-student", default="resnet34")
    parser.add_argument("--one-job", metavar="STUDENT:MEMBERS", help="train it and print its peak")
    parser.add_argument("--data", type=Path, help="folder of data sets, for --one-job")
    options = parser.parse_args()
    if options.one_job:
        return one_job(options.one_job, options.data)
    cores = os.cpu_count() or 1
    print(f"{torch.get_num_threads()} threads on {cores} cores, torch {torch.__version__}")
    ratios: list[tuple[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = write_noise(Path(folder) / "data/noise", options.pictures)
        ratios += speed(data, Path(folder), options.rounds)
        ratios.append(("train/memory-10-over-2", memory(Path(folder), options.memory_student)))
    if torch.cuda.is_available():
        ratios.append(("train/gpu-fused", fused_on_gpu()))
    else:
        print("train/gpu-fused: not measured, there is no GPU here")
    for name, value in ratios:
        print(f"ratio {name} {value:.2f}")
    return 0


def write_noise(folder: Path, count: int) -> Path:
    """Write so many pictures of noise in 10 classes and return the folder of data sets."""
    rng = np.random.default_rng(0)
    for number in range(count):
        place = folder / "train" / f"class-{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png", compress_level=0)
    return folder.parent


def speed(data: Path, folder: Path, rounds: int) -> list[tuple[str, float]]:
    """Measure pictures a second, without and with a teacher, against the seed's loop."""
    store = Store(folder / "store")
    pictures = load_dataset("noise", data, store.files).train
    teacher = untrained_teacher(store, pictures)
    # As many views for each epoch of a member as 16 views for ten members of 50 epochs, or more.
    taught = replace(PLAIN, teacher=(EnsembleTeacher(teacher),), teacher_views=1, epochs=3)
    workers = os.cpu_count() or 1
    figures: dict[str, list[float]] = {}
    for number in range(rounds):
        for name, measure in (
            ("seed, plain", partial(seed_rate, pictures, None, 30, workers)),
            ("ours, plain", partial(our_rate, data, store, PLAIN)),
            ("seed, distilled", partial(seed_rate, pictures, TEACHER, 2, workers)),
            ("ours, distilled", partial(our_rate, data, store, taught)),
        ):
            figures.setdefault(name, []).append(measure())
            print(f"round {number + 1}, {name}: {figures[name][-1]:.0f} pictures/s", flush=True)
    return [
        (f"train/{kind}", ratio(figures[f"ours, {kind}"], figures[f"seed, {kind}"], kind))
        for kind in ("plain", "distilled")
    ]


def ratio(ours: list[float], theirs: list[float], what: str) -> float:
    """Print the medians with their spread and return the median of the rounds' ratios."""
    for name, found in (("ours", ours), ("seed", theirs)):
        middle, low, high = statistics.median(found), min(found), max(found)
        print(f"{what}, {name}: {middle:.0f} pictures/s (rounds from {low:.0f} to {high:.0f})")
    rounds = [one / other for one, other in zip(ours, theirs, strict=True)]
    print(f"{what}: ratios of the rounds {', '.join(f'{each:.2f}' for each in rounds)}")
    return statistics.median(rounds)


def seed_rate(pictures: Pictures, teacher: str | None, steps: int, workers: int) -> float:
    """Return the seed loop's pictures a second for one ResNet-14."""
    torch.manual_seed(0)
    taught_by = build_network(teacher, CLASSES).eval() if teacher else None
    return train_as_the_seed(
        build_network("resnet14", CLASSES), taught_by, pictures, steps, workers
    )


def our_rate(data: Path, store: Store, recipe: Recipe) -> float:
    """Return pictures a second of a job of ten ResNet-14: each picture of each member's epochs.

    Included are the teacher's answers, validation, checkpoints and the members' last predictions.
    """
    times: dict[type, float] = {}

    def report(event: Event) -> None:
        times[type(event)] = time.perf_counter()

    manifest = distill(recipe, data, store, "bench", report=report, check=lambda: None)
    forget_run(store, "bench")
    store.files.delete("answers")  # or the next round would find them
    if manifest is None:
        raise RuntimeError("with every piece claimed, none can be in other hands")
    pictures = len(load_dataset("noise", data, store.files).train)
    held_out = int(manifest.metrics["validation"]["pictures"])
    steps = (pictures - held_out) // recipe.batch_size
    trained = steps * recipe.batch_size * recipe.members * recipe.epochs
    return trained / (times[Evaluating] - times[MemoryPlanned])


def untrained_teacher(store: Store, pictures: Pictures) -> str:
    """Publish a network with its initial weights as an ensemble of one, and return its id."""
    network = build_network(TEACHER, CLASSES)
    predictions = torch.zeros(1, 1, CLASSES).log_softmax(dim=-1)
    manifest = EnsembleManifest(
        id="",
        name="untrained",
        network=TEACHER,
        classes=tuple(f"class-{number}" for number in range(CLASSES)),
        size=pictures.images.shape[-1],
        normalisation=normalisation_of(pictures),
        members=(),
        temperature=1.0,
        recipe=PLAIN.to_dict(),
        dataset={"name": "noise", "digest": ""},
        teachers=(),
        metrics={"validation": {"pooled": {"accuracy": 0.0}}},
        created_at="",
    )
    return store.publish(manifest, [network.state_dict()], {"validation": predictions}).id


def memory(folder: Path, student: str) -> float:
    """Return the peak memory of a job of ten members over that of one of two.

    Each in a process of its own, with a limit of 8 GiB that its plan keeps to.
    """
    data = write_noise(folder / "few/noise", 160)
    peaks = {}
    for members in (2, 10):
        command = [sys.executable, "-m", "benchmarks.train", "--one-job", f"{student}:{members}"]
        command += ["--data", str(data)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(done.stdout, end="")
        peaks[members] = int(done.stdout.split()[-2].replace(",", ""))
    return peaks[10] / peaks[2]


def one_job(job: str, data: Path) -> int:
    """Train so many members for an epoch of two steps and print the plan and the peak."""
    student, members = job.split(":")
    recipe = replace(PLAIN, student=student, members=int(members), batch_size=64)

    def report(event: Event) -> None:
        if isinstance(event, MemoryPlanned):
            print(f"{members} × {student}, plan: {event.plan}")

    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        distill(
            recipe, data, store, "bench", report=report, check=lambda: None, limit_bytes=LIMIT_BYTES
        )
    print(f"{members} × {student}, peak resident: {resident_bytes(peak=True):,} bytes")
    return 0


def fused_on_gpu() -> float:
    """Return how much faster ten ResNet-14 train side by side than one by one, on this GPU."""
    device, pictures = torch.device("cuda"), 45_056
    images = torch.randint(0, 256, (pictures, 3, 32, 32), dtype=torch.uint8, device=device)
    train = Pictures(images, torch.randint(0, 100, (pictures,), device=device))
    few = Pictures(images[:500].cpu(), train.labels[:500].cpu())
    lesson = Lesson(train, few, Normalisation((0.5,) * 3, (0.25,) * 3), classes=100)
    recipe = replace(PLAIN, epochs=3)
    seconds = {}
    for together in (1, 10):
        with tempfile.TemporaryDirectory() as folder:
            ends: list[float] = []

            def report(event: Event, ends: list[float] = ends) -> None:
                if isinstance(event, EpochDone):
                    torch.cuda.synchronize()
                    ends.append(time.perf_counter())

            parts = [Part("member", index) for index in range(together)]
            fit(
                recipe,
                parts,
                lesson,
                [FreshViews(train, recipe.augmentation, None)] * together,
                checkpoints=[Checkpoints(Files(folder), str(part.index)) for part in parts],
                run=Run(device, report, lambda: None),
            )
            seconds[together] = ends[-1] - ends[0]  # without the first epoch, which warms up
    print(f"GPU, two epochs: one {seconds[1]:.1f} s, ten side by side {seconds[10]:.1f} s")
    return 10 * seconds[1] / seconds[10]


if __name__ == "__main__":
    sys.exit(main())
