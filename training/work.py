"""What all pieces of a run have in common: recipe, pictures, store, and where results go."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from models.artefacts import read_json, write_json
from models.ensemble import Normalisation
from models.store import Store
from training.answers import answers_bytes
from training.datasets import Dataset, Pictures
from training.effort import planned_parts
from training.feasible import check_batch_size
from training.fit import Lesson, Run
from training.footprint import GPU_CONTEXT_BYTES, resident_bytes
from training.memory import MemoryPlan, plan_memory, smaller_plan
from training.pace import faster_of
from training.progress import Part, Planned
from training.recipe import EnsembleTeacher, Recipe, TrainedTeacher, digest_of
from training.splits import train_and_validation
from training.teachers import teacher_digest


@dataclass(frozen=True)
class Work:
    """A run, ready to be worked on.

    Attributes:
        recipe: what to train.
        dataset: its pictures, on the CPU.
        lesson: what members learn from and are validated on.
        store: where results go.
        folder: of this run in the store.
        run: where training happens and who watches it.
        limit_bytes: memory that training may use; none for all there is.
    """

    recipe: Recipe
    dataset: Dataset
    lesson: Lesson
    store: Store
    folder: str
    run: Run
    limit_bytes: int | None

    @property
    def splits(self) -> dict[str, Pictures]:
        """What every member is measured on in the end."""
        test = {"test": self.dataset.test} if self.dataset.test else {}
        return {"validation": self.lesson.validation, **test}

    @property
    def members(self) -> list[Part]:
        """The members to train."""
        return [Part("member", index) for index in range(self.recipe.members)]

    @property
    def teachers(self) -> dict[Part, TrainedTeacher]:
        """The teachers to train."""
        return {
            Part("teacher", index, shared=self.teacher_name(index)): teacher
            for index, teacher in enumerate(self.recipe.teacher)
            if isinstance(teacher, TrainedTeacher)
        }

    @property
    def answers(self) -> list[Part]:
        """The teachers' answers to keep."""
        count = len(self.recipe.teacher) if self.recipe.kept_views else 0
        return [Part("answers", index) for index in range(count)]

    def teacher_name(self, index: int) -> str:
        """Return the id of an ensemble that teaches, or the digest of a trained teacher."""
        teacher = self.recipe.teacher[index]
        if isinstance(teacher, EnsembleTeacher):
            return teacher.ensemble
        return teacher_digest(self.recipe, teacher, self.dataset)

    def member_folder(self, part: Part) -> str:
        """Return where a member's checkpoints and result are."""
        return f"{self.folder}/member-{part.index:02d}"

    def plan_memory(self, recipe: Recipe, networks: int) -> MemoryPlan:
        """Plan the memory of training so many networks of a recipe.

        Raises:
            NotEnoughMemory: not even one fits.
        """
        size = self.lesson.train.images.shape[-1]
        answers = answers_bytes(self.recipe, len(self.lesson.train), self.lesson.classes)
        if self.run.device.type == "cpu":
            shared = resident_bytes() + answers
        else:
            shared = self.lesson.train.images.nbytes + answers + GPU_CONTEXT_BYTES
        return plan_memory(
            recipe,
            networks=networks,
            size=size,
            classes=self.lesson.classes,
            device=self.run.device,
            shared_bytes=shared,
            answers_bytes=answers,
            limit_bytes=self.limit_bytes,
        )

    def plan_members(self) -> MemoryPlan:
        """Plan the members' training, as it was planned before on this kind of device if it was.

        On a GPU the choice between side by side and one by one is measured, which could turn out
        otherwise after an interruption, and with it the last bits of the weights.

        Raises:
            NotEnoughMemory: not even one member fits.
        """
        plan = self.plan_memory(self.recipe, self.recipe.members)
        name = f"{self.folder}/plan-{plan.device}.json"
        if self.store.files.exists(name):
            return as_chosen_before(plan, read_json(self.store.files, name))
        size = self.lesson.train.images.shape[-1]
        plan = faster_of(plan, self.recipe, size=size, classes=self.lesson.classes)
        write_json(self.store.files, name, plan.to_dict())
        return plan

    def smaller(self, plan: MemoryPlan, recipe: Recipe) -> MemoryPlan | None:
        """Return the next plan in the order of retreat, or none."""
        size = self.lesson.train.images.shape[-1]
        return smaller_plan(plan, recipe, size, self.lesson.classes)

    def planned(self) -> Planned:
        """Return every piece that is to be trained, with what it takes.

        Raises:
            InvalidRecipe: an ensemble that is to teach does not exist.
        """
        size = self.lesson.train.images.shape[-1]
        pieces = planned_parts(self.recipe, len(self.lesson.train), size, self.store)
        shared = {part: part for part in self.teachers}  # the same, with what jobs share them by
        return Planned(
            tuple(replace(piece, part=shared.get(piece.part, piece.part)) for piece in pieces)
        )


def prepare(
    recipe: Recipe,
    dataset: Dataset,
    store: Store,
    name: str,
    *,
    run: Run,
    limit_bytes: int | None,
) -> Work:
    """Split the pictures and say where results go.

    Raises:
        InvalidRecipe: the recipe cannot work with this data set.
    """
    train, validation = train_and_validation(dataset, recipe.validation_fraction)
    check_batch_size(recipe.batch_size, len(train))
    on_device = Pictures(train.images.to(run.device), train.labels.to(run.device))
    lesson = Lesson(on_device, validation, normalisation_of(train), len(dataset.classes))
    # The same name may be tried again with another recipe or other pictures.
    folder = f"runs/{name}/{digest_of([recipe.to_dict(), dataset.digest])[:12]}"
    return Work(recipe, dataset, lesson, store, folder, run, limit_bytes)


def as_chosen_before(plan: MemoryPlan, kept: dict[str, Any]) -> MemoryPlan:
    """Return a plan, one by one if that is what an earlier plan of the same run had chosen."""
    if plan.side_by_side and not kept["side_by_side"]:
        return replace(plan, together=1, side_by_side=False)
    return plan


def normalisation_of(pictures: Pictures) -> Normalisation:
    """Return mean and standard deviation of each colour channel, to four decimals."""
    counts = torch.stack(
        [channel.flatten().bincount(minlength=256) for channel in pictures.images.unbind(dim=1)]
    ).double()  # [3, 256]: exact, and needs no float copy of all pixels
    value = torch.arange(256, dtype=torch.double) / 255
    share = counts / counts.sum(dim=1, keepdim=True)
    mean = (share * value).sum(dim=1)
    std = ((share * value**2).sum(dim=1) - mean**2).sqrt()
    red, green, blue = (round(x, 4) for x in mean.tolist())
    # A channel of one single value has no spread to divide by.
    red_std, green_std, blue_std = (max(round(x, 4), 1e-4) for x in std.tolist())
    return Normalisation((red, green, blue), (red_std, green_std, blue_std))
