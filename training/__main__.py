"""``python -m training``: distil an ensemble on this machine, without a queue or a service."""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.errors import FieldProblem, InvalidRecipe, StillhouseError, Stopped
from models.store import Store
from training.bounds import BOUNDS
from training.distill import distill, forget_run
from training.heap import use_one_heap
from training.promotion import promote
from training.recipe import (
    DISTILLATION_LOSSES,
    DISTILLATION_SCHEDULES,
    INITIALISATIONS,
    OPTIMISERS,
    PRECISIONS,
    PRESETS,
    PROMOTES,
    SCHEDULES,
    EnsembleTeacher,
    Recipe,
    Teacher,
    TrainedTeacher,
    digest_of,
)
from training.recipe_check import check_recipe
from training.terminal import Terminal

EXIT_INVALID, EXIT_FAILED, EXIT_INTERRUPTED = 2, 1, 130

NUMBERS = {name: type(getattr(PRESETS["default"], name)) for name in BOUNDS if "." not in name}
"""The recipe's numbers, each with its type; one option each."""


def main(arguments: list[str] | None = None) -> int:
    """Train what the arguments say and print the ensemble's id and accuracy."""
    use_one_heap()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = _parser().parse_args(arguments)
    try:
        recipe = _recipe(options)
        store = Store(options.store)
        # The same command again finds the checkpoints of the one that was interrupted.
        name = f"cli-{digest_of(recipe.to_dict())[:12]}"
        with Terminal() as terminal:
            manifest = distill(
                recipe,
                options.data,
                store,
                name,
                report=terminal,
                check=lambda: None,
                limit_bytes=options.memory_limit_bytes,
                deterministic=options.deterministic,
            )
        if manifest is None:
            raise RuntimeError("with every piece claimed, none can be in other hands")
        promotion = promote(store, manifest, recipe.promote)
        forget_run(store, name)
    except InvalidRecipe as error:
        for problem in error.problems:
            print(f"error: {problem.field}: {problem.reason}", file=sys.stderr)
        return EXIT_INVALID
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last epoch", file=sys.stderr)
        return EXIT_INTERRUPTED
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_INTERRUPTED if isinstance(error, Stopped) else EXIT_FAILED
    for split, metrics in manifest.metrics.items():
        alone = metrics["members_mean"]["accuracy"]
        print(f"{split}: members {alone:.2%}, together {metrics['pooled']['accuracy']:.2%}")
    print(f"serving: {'yes' if promotion.promoted else 'no'}, {promotion.reason}")
    print(f"ensemble: {manifest.id}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Distil an ensemble and leave it in the store.",
        epilog="example: python -m training --student resnet14 --members 2 --epochs 3"
        " --teacher resnet20:3 --data data --store store",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--store", required=True, help="folder or fsspec URL of the store")
    parser.add_argument("--preset", choices=PRESETS, default="default")
    parser.add_argument("--name", help="what the ensemble is called")
    parser.add_argument("--dataset", help="cifar100, or a folder below --data")
    parser.add_argument(
        "--memory-limit-bytes", type=int, metavar="N", help="memory training may use"
    )
    parser.add_argument(
        "--deterministic", action="store_true", help="the same bits every time on a GPU, slower"
    )
    parser.add_argument("--student", metavar="NETWORK", help="such as resnet14 or resnet8x4")
    parser.add_argument(
        "--teacher",
        metavar="TEACHER",
        action="append",
        type=_teacher,
        help="network and epochs, such as resnet14x2:30 (resnet14x2:30:1 for another seed), or"
        " the id of an ensemble after '@'; several times for several teachers, or 'none'",
    )
    for name, type_ in NUMBERS.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type_, metavar="N", help=BOUNDS[name].meaning)
    parser.add_argument("--nesterov", action=argparse.BooleanOptionalAction)
    parser.add_argument("--augmentation", help="none, small_crop_flip or crop_flip")
    parser.add_argument("--precision", choices=PRECISIONS)
    parser.add_argument("--schedule", choices=SCHEDULES)
    parser.add_argument("--distillation-schedule", choices=DISTILLATION_SCHEDULES)
    parser.add_argument("--optimiser", choices=OPTIMISERS)
    parser.add_argument("--initial-ensemble", help="id of the ensemble that members begin as")
    parser.add_argument("--initialisation", choices=INITIALISATIONS)
    parser.add_argument("--distillation-loss", choices=DISTILLATION_LOSSES)
    parser.add_argument("--promote", choices=PROMOTES)
    return parser


NAMES = (
    *("name", "dataset", "student", "nesterov", "augmentation", "precision", "schedule"),
    *("distillation_schedule", "initial_ensemble"),
    *("optimiser", "initialisation", "distillation_loss", "promote"),
)
"""The recipe's other fields that have an option of the same name."""


def _recipe(options: argparse.Namespace) -> Recipe:
    given: dict[str, Any] = {
        name: value for name in (*NAMES, *NUMBERS) if (value := getattr(options, name)) is not None
    }
    if options.teacher is not None:
        if None in options.teacher[1:] or (options.teacher[0] is None and options.teacher[1:]):
            raise InvalidRecipe(
                [FieldProblem("teacher", "'none' and others contradict each other")]
            )
        given["teacher"] = tuple(teacher for teacher in options.teacher if teacher is not None)
    recipe = replace(PRESETS[options.preset], **given)
    check_recipe(recipe)
    return recipe


def _teacher(text: str) -> Teacher | None:
    """Return the teacher that an option names; ``ValueError`` is argparse's to tell."""
    if text == "none":
        return None
    if text.startswith("@"):
        return EnsembleTeacher(text[1:])
    student, epochs, *seed = text.split(":")
    return TrainedTeacher(student, int(epochs), *map(int, seed))


if __name__ == "__main__":
    sys.exit(main())
