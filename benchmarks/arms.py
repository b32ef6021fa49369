"""``make bench-arms``: recipes compared at small scale, on validation pictures only.

Three members of few epochs each, all on the same pictures with the same seeds, so that arms
differ in nothing but what their name says. An arm that is finished is not trained again, so more
arms or seeds can be added later. The table is for ``docs/recipes.md``.
"""

import argparse
import logging
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.ensemble import EnsembleManifest
from models.store import Store
from training.distill import distill
from training.recipe import EnsembleTeacher, Recipe, TrainedTeacher, digest_of
from training.terminal import Terminal

TEACHER = TrainedTeacher("resnet14x2", epochs=6)
PLAIN = Recipe(
    student="resnet14",
    members=3,
    teacher=(),
    teacher_views=0,
    distillation_loss="kl",
    promote="never",
)
TAUGHT = replace(PLAIN, teacher=(TEACHER,), teacher_views=4)

ARMS: dict[str, Recipe] = {
    "no teacher": PLAIN,
    "KL, T 4, λ 0.5": TAUGHT,
    "KL, λ 0.9": replace(TAUGHT, distillation_weight=0.9),
    "DKD, λ 0.5": replace(TAUGHT, distillation_loss="dkd"),
    "standardised KL, T 2, λ 0.9": replace(
        TAUGHT, distillation_loss="standardised_kl", temperature=2.0, distillation_weight=0.9
    ),
    "KL, λ 0.2 to 0.8": replace(TAUGHT, distillation_weight_spread=0.3),
    "KL, T 2 to 8": replace(TAUGHT, temperature_spread=2.0),
    "KL, fresh views": replace(TAUGHT, teacher_views=0),
    "one network twice as wide": replace(PLAIN, student="resnet14x2", members=1),
}
SECOND_GENERATION = "KL from the ensemble without teacher"


def main() -> int:
    """Train the arms that are missing and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.arms", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of data sets")
    parser.add_argument("--store", required=True, help="where arms are kept")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--arm", action="append", help="only arms with this in their name")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    store = Store(options.store)
    table: dict[str, list[dict[str, Any]]] = {}
    for seed in range(options.seeds):
        for name, recipe in ARMS.items():
            if not options.arm or any(part in name for part in options.arm):
                arm = replace(recipe, epochs=options.epochs, seed=seed)
                table.setdefault(name, []).append(measure(arm, options.data, store))
        if not options.arm:
            first = run(replace(PLAIN, epochs=options.epochs, seed=seed), options.data, store)
            second = replace(TAUGHT, teacher=(EnsembleTeacher(first.id),))
            arm = replace(second, epochs=options.epochs, seed=seed)
            table.setdefault(SECOND_GENERATION, []).append(measure(arm, options.data, store))
    print("| arm | members' mean | together | NLL | calibrated NLL | disagreement |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, found in table.items():
        cells = [spread([one[key] for one in found]) for key in found[0]]
        print(f"| {name} | {' | '.join(cells)} |")
    return 0


def measure(recipe: Recipe, data: Path, store: Store) -> dict[str, float]:
    """Return an arm's figures on validation, in the table's order."""
    metrics = run(recipe, data, store).metrics["validation"]
    return {
        "members": metrics["members_mean"]["accuracy"] * 100,
        "pooled": metrics["pooled"]["accuracy"] * 100,
        "nll": metrics["pooled"]["nll"],
        "calibrated": metrics["calibrated"]["nll"],
        "disagreement": metrics["diversity"]["disagreement"],
    }


def run(recipe: Recipe, data: Path, store: Store) -> EnsembleManifest:
    """Return the ensemble of a recipe, trained now or found."""
    for manifest in store.ensembles():
        if manifest.recipe == recipe.to_dict():
            return manifest
    started = time.monotonic()
    name = f"arm-{digest_of(recipe.to_dict())[:12]}"
    with Terminal() as terminal:
        made = distill(recipe, data, store, name, report=terminal, check=lambda: None)
    if made is None:
        raise RuntimeError("with every piece claimed, none can be in other hands")
    print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return made


def spread(values: list[float]) -> str:
    """Return the mean, and the lowest and highest where there are several."""
    digits = 1 if max(values) > 10 else 3
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})"


if __name__ == "__main__":
    sys.exit(main())
