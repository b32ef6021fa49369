"""``make release``: train what ships with the code and put it into models/release/.

First six members without a teacher, then ten that those six teach; with ``--student`` also a single
network that the ten teach, which ships beside them (``--only-student``: taught by those that ship
already). Hours on two cores. Interrupted, the same command goes on from the last epoch; what is in
the store already, or ships, made by the same recipes, is not made again. Validation pictures alone
have chosen the recipes; the test pictures are read when an ensemble is published, for the figures
on its card.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.ensemble import EnsembleManifest
from models.errors import StillhouseError
from models.store import RELEASE_FOLDER, Store
from ops.card import write_card
from training.distill import distill, forget_run
from training.heap import use_one_heap
from training.recipe import EnsembleTeacher, Recipe
from training.recipe_check import recipe_from_dict
from training.terminal import Terminal

NAME = "release-resnet14x10"
STUDENT_NAME = "release-resnet20-from-10"

TEACHERS = Recipe(
    name="teachers-resnet14-6-members",
    student="resnet14",
    members=6,
    teacher=(),
    teacher_views=0,
    epochs=16,
    distillation_loss="kl",
    promote="never",
)

# Why each of these: docs/recipes.md, the arms.
RELEASE = Recipe(
    name=NAME,
    student="resnet14",
    members=10,
    teacher=(),
    teacher_views=8,
    epochs=30,
    distillation_loss="kl",
    distillation_weight=0.9,
    distillation_schedule="fading",
    augmentation="small_crop_flip",
    promote="never",
)
"""But for its teacher, which has an id once it exists; so for the next."""

STUDENT = replace(
    RELEASE, name=STUDENT_NAME, student="resnet20", members=1, epochs=20, teacher_views=4
)


def main() -> int:
    """Train, or find what is trained, and replace the releases."""
    use_one_heap()
    parser = argparse.ArgumentParser(prog="python -m ops.release", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of data sets")
    parser.add_argument("--store", default="store", help="where checkpoints go")
    told = f"also train {STUDENT_NAME}"
    parser.add_argument("--student", action="store_true", help=told)
    told = f"only train {STUDENT_NAME}, taught by the {NAME} that is here"
    parser.add_argument("--only-student", action="store_true", help=told)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    store = Store(options.store)
    try:
        if not options.only_student:
            replace_release((TEACHERS, RELEASE), options.data, store, RELEASE_FOLDER)
        if options.student or options.only_student:
            # By the name it ships under, so that whoever has the student finds its teacher.
            teacher = store.manifest(NAME)
            student = make(taught_by(teacher, STUDENT), options.data, store)
            release(student.id, store, RELEASE_FOLDER, STUDENT_NAME, teacher=teacher)
    except StillhouseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for made in (TEACHERS, RELEASE, STUDENT):
        forget_run(store, made.name)
    return 0


def replace_release(chain: Sequence[Recipe], data: Path, store: Store, folder: Path) -> None:
    """Let what the last of some recipes makes ship instead of what does; see ``make_last``.

    Where that is what ships already, only its card is written anew.
    """
    *before, _ = chain
    ensemble = make_last(chain, data, store)
    if ensemble.id == NAME:
        write_card(ensemble, folder / NAME, before=before)
        return
    clear(folder)  # only now is there something to ship instead
    release(ensemble.id, store, folder, NAME, before=before)


def taught_by(teacher: EnsembleManifest, recipe: Recipe) -> Recipe:
    """Return a recipe with an ensemble of the store as its teacher."""
    return replace(recipe, teacher=(EnsembleTeacher(teacher.id),))


def make_last(chain: Sequence[Recipe], data: Path, store: Store) -> EnsembleManifest:
    """Return what the last of some recipes makes, each of which is taught by the one before it.

    What is there already needs no teacher, so nothing that only taught it is made again.

    Args:
        chain: recipes but for their teachers; the first has none.
        data: folder of data sets.
        store: of the ensembles and their checkpoints.

    Raises:
        StillhouseError: as ``distill``.
    """
    *before, recipe = chain
    for made in store.ensembles():
        found = recipe_from_dict(made.recipe)
        alike = replace(found, name=recipe.name, teacher=()) == recipe
        if alike and bool(found.teacher) == bool(before):
            print(f"{recipe.name}: {made.id} was made so")
            return made
    if before:
        recipe = taught_by(make_last(before, data, store), recipe)
    return make(recipe, data, store)


def make(recipe: Recipe, data: Path, store: Store) -> EnsembleManifest:
    """Return the newest ensemble of the store that this recipe made, after training it if need be.

    Args:
        recipe: its name may differ from the one that the ensemble was made under.
        data: folder of data sets.
        store: of the ensemble and its checkpoints.

    Raises:
        StillhouseError: as ``distill``.
    """
    for made in store.ensembles():
        if replace(recipe_from_dict(made.recipe), name=recipe.name) == recipe:
            print(f"{recipe.name}: {made.id} was made so")
            return made
    with Terminal() as terminal:
        manifest = distill(recipe, data, store, recipe.name, report=terminal, check=lambda: None)
    if manifest is None:
        raise RuntimeError("with every piece claimed, none can be in other hands")
    return manifest


def clear(folder: Path) -> None:
    """Remove the releases of before."""
    if folder.exists():
        shutil.rmtree(folder)


def release(
    id_: str,
    store: Store,
    folder: Path,
    name: str,
    *,
    teacher: EnsembleManifest | None = None,
    before: Sequence[Recipe] = (),
) -> EnsembleManifest:
    """Put one ensemble of the store into a folder of releases, with its card.

    Args:
        id_: the ensemble.
        store: where it lies.
        folder: of releases.
        name: its id from now on.
        teacher: a release that taught it, to be compared with on the card.
        before: recipes, but for what each builds on, of what it builds on.

    Raises:
        EnsembleNotFound: there is none with this id.
        CorruptArtefact: a file is not what its manifest says.
    """
    manifest = store.export(id_, folder, name)
    write_card(manifest, folder / name, teacher, before)
    print(f"released {manifest.id}: {manifest.bytes:,} bytes")
    return manifest


if __name__ == "__main__":
    sys.exit(main())
