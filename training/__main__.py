"""``python -m training``: distil an ensemble on this machine, without a queue or a service."""

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from models.errors import InvalidRecipe, StillhouseError, Stopped
from models.store import Store
from training.distill import distill, forget_run
from training.promotion import promote
from training.recipe import (
    BOUNDS,
    PRECISIONS,
    PRESETS,
    PROMOTES,
    SCHEDULES,
    EnsembleTeacher,
    Recipe,
    TrainedTeacher,
    check_recipe,
    digest_of,
)
from training.terminal import Terminal

EXIT_INVALID, EXIT_FAILED, EXIT_INTERRUPTED = 2, 1, 130

NUMBERS = {name: type(getattr(PRESETS["default"], name)) for name in BOUNDS if "." not in name}
"""The recipe's numbers, each with its type; one option each."""


def main(arguments: list[str] | None = None) -> int:
    """Train what the arguments say and print the ensemble's id and accuracy."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    parser = _parser()
    options = parser.parse_args(arguments)
    untrained = options.no_teacher or options.teacher_ensemble is not None
    if untrained and options.teacher_epochs is not None:
        parser.error("argument --teacher-epochs: only for a teacher that is trained here")
    try:
        recipe = _recipe(options)
        store = Store(options.store)
        # The same command again finds the checkpoints of the one that was interrupted.
        name = f"cli-{digest_of(recipe.to_dict())[:12]}"
        with Terminal() as terminal:
            manifest = distill(
                recipe, options.data, store, name, report=terminal, check=lambda: None
            )
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
        " --teacher resnet20 --teacher-epochs 3 --data data --store store",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--store", required=True, help="folder or fsspec URL of the store")
    parser.add_argument("--preset", choices=PRESETS, default="default")
    parser.add_argument("--name", help="what the ensemble is called")
    parser.add_argument("--dataset", help="cifar100, or a folder below --data")
    parser.add_argument("--student", metavar="NETWORK", help="such as resnet14 or resnet8x4")
    teacher = parser.add_mutually_exclusive_group()
    teacher.add_argument("--teacher", metavar="NETWORK", help="network to train as the teacher")
    teacher.add_argument("--teacher-ensemble", metavar="ID", help="finished ensemble as teacher")
    teacher.add_argument("--no-teacher", action="store_true", help="a plain deep ensemble")
    meaning = BOUNDS["teacher.epochs"].meaning
    parser.add_argument("--teacher-epochs", type=int, metavar="N", help=meaning)
    for name, type_ in NUMBERS.items():
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=type_, metavar="N", help=BOUNDS[name].meaning)
    parser.add_argument("--nesterov", action=argparse.BooleanOptionalAction)
    parser.add_argument("--augmentation", help="none or crop_flip")
    parser.add_argument("--precision", choices=PRECISIONS)
    parser.add_argument("--schedule", choices=SCHEDULES)
    parser.add_argument("--promote", choices=PROMOTES)
    return parser


def _recipe(options: argparse.Namespace) -> Recipe:
    names = ("name", "dataset", "student", "nesterov", "augmentation", "precision", "schedule")
    given: dict[str, Any] = {
        name: value
        for name in (*names, "promote", *NUMBERS)
        if (value := getattr(options, name)) is not None
    }
    recipe = replace(PRESETS[options.preset], **given)
    teacher = recipe.teacher
    if options.no_teacher:
        teacher = None
    elif options.teacher_ensemble is not None:
        teacher = EnsembleTeacher(options.teacher_ensemble)
    elif isinstance(teacher, TrainedTeacher):
        if options.teacher is not None:
            teacher = replace(teacher, student=options.teacher)
        if options.teacher_epochs is not None:
            teacher = replace(teacher, epochs=options.teacher_epochs)
    recipe = replace(recipe, teacher=teacher)
    check_recipe(recipe)
    return recipe


if __name__ == "__main__":
    sys.exit(main())
