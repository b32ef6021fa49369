"""How the members of a run are taught: its teachers loaded, asked once or as views come."""

from collections.abc import Callable

from models.errors import CorruptArtefact
from training.answers import answers_folder, has_answers, keep_answers, read_answers
from training.progress import Part
from training.recipe import EnsembleTeacher
from training.teachers import ensemble_teacher, find_teacher, network_teacher
from training.views import FreshViews, KeptViews, Teach, Views, draw_kept_views
from training.work import Work


def load_teacher(work: Work, index: int) -> Teach:
    """Return one of a run's teachers, which is in the store.

    Raises:
        InvalidRecipe: an ensemble that cannot teach this data set.
        CorruptArtefact: it was damaged since it was trained.
    """
    teacher, device = work.recipe.teacher[index], work.run.device
    if isinstance(teacher, EnsembleTeacher):
        return ensemble_teacher(work.recipe, teacher, work.dataset, work.store, device)
    found = find_teacher(work.store, work.teacher_name(index), Part("teacher", index))
    if found is None:
        raise CorruptArtefact(f"teacher {index} was in the store a moment ago and is not any more")
    return network_teacher(found[0], work.recipe, work.lesson, device)


def answer(work: Work, part: Part) -> None:
    """Let one of a run's teachers answer every kept view.

    Raises:
        Stopped: from ``check``; views that are finished stay.
        StoreFull: no space left.
    """
    teach, folder = load_teacher(work, part.index), _folder(work, part.index)
    recipe, lesson = work.recipe, work.lesson
    keep_answers(recipe, teach, part, lesson, folder=folder, store=work.store, run=work.run)


def is_answered(work: Work, part: Part) -> bool:
    """Say whether one of a run's teachers has answered every kept view."""
    return has_answers(work.recipe, _folder(work, part.index), work.store)


def read_views(work: Work) -> Callable[[Part], Views]:
    """Return what gives each member its views; teachers or their answers are read once, here.

    Raises:
        CorruptArtefact: a teacher or its answers were damaged since they were made.
    """
    recipe, lesson = work.recipe, work.lesson
    of_teacher: list[Views] = []
    if recipe.kept_views:
        drawn = draw_kept_views(recipe.kept_views, lesson.train, recipe.augmentation)
        for index in range(len(recipe.teacher)):
            answers = read_answers(recipe, _folder(work, index), work.store)
            if answers is None:
                raise CorruptArtefact(f"answers of teacher {index} are damaged; try again")
            of_teacher.append(KeptViews(lesson.train, drawn, answers.to(work.run.device)))
    else:
        for index in range(len(recipe.teacher)):
            teach = load_teacher(work, index)
            of_teacher.append(FreshViews(lesson.train, recipe.augmentation, teach))
    alone = FreshViews(lesson.train, recipe.augmentation, None)

    def views_of(part: Part) -> Views:
        index = recipe.teacher_of(part.index)
        return alone if index is None else of_teacher[index]

    return views_of


def _folder(work: Work, index: int) -> str:
    is_ensemble = isinstance(work.recipe.teacher[index], EnsembleTeacher)
    return answers_folder(work.recipe, work.teacher_name(index), work.dataset, is_ensemble)
