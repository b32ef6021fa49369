"""What the pieces of a run take, in operations, and what of that need not be done again."""

from models.errors import EnsembleNotFound, FieldProblem, InvalidRecipe
from models.store import Store
from training.progress import Part, PlannedPart, operations
from training.recipe import EnsembleTeacher, Recipe, TrainedTeacher


def planned_parts(
    recipe: Recipe, pictures: int, size: int, store: Store
) -> tuple[PlannedPart, ...]:
    """Return every piece of a run that is to be trained or answered, with what it takes.

    Args:
        recipe: of the run.
        pictures: to train on.
        size: of each, in pixels a side.
        store: where ensembles that teach are.

    Raises:
        InvalidRecipe: an ensemble that is to teach does not exist.
    """
    asked = [
        _operations_of_teacher(recipe, index, size, store) * pictures
        for index in range(len(recipe.teacher))
    ]
    pieces: list[PlannedPart] = []
    # A training step is a forward pass and a backward pass of about twice its operations.
    for index, teacher in enumerate(recipe.teacher):
        if isinstance(teacher, TrainedTeacher):
            part = Part("teacher", index)
            pieces.append(PlannedPart(part, teacher.student, teacher.epochs, 3 * asked[index]))
    if recipe.kept_views:
        pieces += [
            PlannedPart(Part("answers", index), "", recipe.kept_views, of_one)
            for index, of_one in enumerate(asked)
        ]
    per_epoch = 3 * operations(recipe.student, size) * pictures
    for index in range(recipe.members):
        teacher_index = recipe.teacher_of(index)
        fresh = teacher_index is not None and not recipe.kept_views
        # Coupled members see the same views, which a teacher answers once for all of them.
        fresh = fresh and not (recipe.is_coupled and index >= len(recipe.teacher))
        extra = asked[teacher_index] if fresh and teacher_index is not None else 0.0
        part = Part("member", index)
        pieces.append(PlannedPart(part, recipe.student, recipe.epochs, per_epoch + extra))
    return tuple(pieces)


def _operations_of_teacher(recipe: Recipe, index: int, size: int, store: Store) -> float:
    """Return the operations of a teacher's answer to one picture."""
    match recipe.teacher[index]:
        case TrainedTeacher(student=student):
            return operations(student, size)
        case EnsembleTeacher(ensemble=ensemble):
            try:
                manifest = store.manifest(ensemble)
            except EnsembleNotFound as error:
                raise InvalidRecipe([FieldProblem("teacher.ensemble", str(error))]) from error
            return operations(manifest.network, size) * len(manifest.members)
