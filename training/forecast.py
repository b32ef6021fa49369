"""What a recipe would take, told before anything is read: memory, and time as it once was measured.

Time is known only from what was trained before: a finished job tells how many operations a second
its networks were trained at, and another recipe's operations are counted. Nothing is measured here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch

from training.answers import answers_bytes
from training.datasets import SIZE
from training.footprint import GPU_CONTEXT_BYTES, WORKER_BYTES
from training.memory import MemoryPlan, plan_memory
from training.progress import Part, PlannedPart, Role
from training.recipe import Precision, Recipe, TrainedTeacher, teacher_recipe
from training.survey import Survey, split_sizes


def forecast_memory(
    recipe: Recipe, found: Survey, device: torch.device, limit_bytes: int | None
) -> MemoryPlan:
    """Return the plan that a worker on this machine would make for a job's members.

    On a GPU it would also measure whether side by side is faster than one by one; here nothing is.

    Args:
        recipe: what is to be trained.
        found: its data set.
        device: where to train.
        limit_bytes: memory that training may use; none for all there is.

    Raises:
        NotEnoughMemory: not even one of its networks fits, a teacher or a member.
        InvalidDataset: a class is too small to be split.
    """
    train, _ = split_sizes(found, recipe.validation_fraction)
    classes = len(found.classes)
    everything = sum(sum(of_split.values()) for of_split in found.pictures.values())
    picture_bytes = 3 * SIZE**2
    answers = answers_bytes(recipe, train, classes)
    if device.type == "cpu":
        # Twice: as they were read, and the part to train on cut out of that.
        shared = WORKER_BYTES + 2 * everything * picture_bytes + answers
    else:
        shared = GPU_CONTEXT_BYTES + train * picture_bytes + answers

    def plan(of: Recipe, networks: int) -> MemoryPlan:
        return plan_memory(
            of,
            networks=networks,
            size=SIZE,
            classes=classes,
            device=device,
            shared_bytes=shared,
            answers_bytes=answers,
            limit_bytes=limit_bytes,
        )

    for teacher in recipe.teacher:
        if isinstance(teacher, TrainedTeacher):
            plan(teacher_recipe(recipe, teacher), networks=1)
    return plan(recipe, recipe.members)


@dataclass(frozen=True)
class Pace:
    """How fast a finished job trained the networks of one kind.

    Attributes:
        job: its id.
        role: what for.
        network: what was trained.
        precision: of its convolutions.
        together: how many at once.
        seconds: of an epoch, the median.
        pictures: of an epoch.
        operations_per_second: of all that were trained at once.
    """

    job: str
    role: Role
    network: str
    precision: Precision
    together: int
    seconds: float
    pictures: int
    operations_per_second: float

    def __str__(self) -> str:
        at_once = f", {self.together} at once" if self.together > 1 else ""
        return (
            f"job {self.job} trained {self.network} in {self.precision}{at_once} at"
            f" {self.seconds:.3g} s an epoch of {self.pictures:,} pictures"
        )


def paces_of(
    job: str,
    recipe: Recipe,
    parts: Iterable[PlannedPart],
    *,
    pictures: int,
    together: int,
    seconds: Mapping[Part, Sequence[float]],
) -> list[Pace]:
    """Return how fast a finished job trained each kind of its networks.

    Args:
        job: its id.
        recipe: what it trained.
        parts: its pieces.
        pictures: that it trained on.
        together: members at once.
        seconds: of every epoch of its teachers and members.
    """
    operations: dict[tuple[Role, str], float] = {}
    epochs: dict[tuple[Role, str], list[float]] = {}
    for planned in parts:
        if found := [each for each in seconds.get(planned.part, ()) if each > 0]:
            kind = planned.part.role, planned.network
            operations[kind] = planned.operations_per_epoch
            epochs.setdefault(kind, []).extend(found)
    paces = []
    for (role, network), found in epochs.items():
        usual, at_once = median(found), recipe.at_once(together) if role == "member" else 1
        paces.append(
            Pace(
                job=job,
                role=role,
                network=network,
                precision=recipe.precision,
                together=at_once,
                seconds=usual,
                pictures=pictures,
                operations_per_second=at_once * operations[role, network] / usual,
            )
        )
    return paces


@dataclass(frozen=True)
class Estimate:
    """How long a job may take on one worker, and where that is known from."""

    seconds: float
    source: str


def estimate(
    recipe: Recipe,
    parts: Iterable[PlannedPart],
    together: int,
    paces: Sequence[Pace],
    done: frozenset[Part] = frozenset(),
) -> Estimate | None:
    """Estimate the time that one worker trains; none where nothing was ever measured.

    A network that no job has trained yet is scaled by its operations from one that was.

    Args:
        recipe: what is to be trained.
        parts: its pieces.
        together: members that will be trained at once.
        paces: of finished jobs on such a device, the most telling first.
        done: pieces that are in the store already.
    """
    if not paces:
        return None
    left = [planned for planned in parts if planned.part not in done]
    at_once = recipe.at_once(together)
    # The last of them may be fewer, and take as long: a core that is free helps none of them.
    rounds = math.ceil(recipe.members / at_once)
    seconds, used, scaled = 0.0, [], []
    for planned in left:
        network = planned.network or _teacher_network(recipe, planned.part.index)
        role = planned.part.role
        pace = _pace_for(network, recipe.precision, role, paces)
        share = rounds * at_once / recipe.members if role == "member" else 1.0
        operations = planned.operations_per_epoch * planned.epochs
        seconds += share * operations / pace.operations_per_second
        used.append(str(pace))
        if network and (network, recipe.precision) != (pace.network, pace.precision):
            scaled.append(f"{network} in {recipe.precision}")
    source = "; ".join(dict.fromkeys(used))
    if scaled:
        source += f"; scaled by operations to {', '.join(dict.fromkeys(scaled))}"
    if done:
        source += f"; teachers that need no training: {len(done)}"
    return Estimate(seconds, f"{source}; for one worker, without reading and publishing")


def _teacher_network(recipe: Recipe, index: int) -> str:
    teacher = recipe.teacher[index]
    return teacher.student if isinstance(teacher, TrainedTeacher) else ""


def _pace_for(network: str, precision: Precision, role: Role, paces: Sequence[Pace]) -> Pace:
    def strangeness(pace: Pace) -> tuple[bool, bool, bool]:
        return pace.network != network, pace.precision != precision, pace.role != role

    return min(paces, key=strangeness)  # the first of those that are alike
