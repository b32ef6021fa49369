"""The memory plan: how many networks train together so that everything fits, made beforehand.

The order of retreat when it does not fit: fewer together, then one by one, then activations
computed twice, then batches in pieces of at least 64 pictures, which changes what BatchNorm sees
and is therefore last. Members that learn together cannot be fewer: their activations are computed
twice first and then, on a CPU, by fewer threads.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from models.errors import NotEnoughMemory
from training.footprint import memory_of, training_bytes
from training.recipe import Precision, Recipe

SMALLEST_MICRO_BATCH = 64
"""BatchNorm's statistics of fewer pictures are too noisy to be called the recipe's."""

_MARGIN = 1.15
"""On activations: the allocator's rounding, and workspace of convolutions."""

_FIXED_BYTES = 32 * 2**20
"""Of each network: scratch space of the libraries."""

_CHECKPOINT_SHARE = 1.2
"""Of weights, gradients and momentum: the copies that are written to a checkpoint."""


@dataclass(frozen=True)
class MemoryPlan:
    """How networks are trained at once, and what memory that is expected to take.

    Attributes:
        device: kind of device.
        together: networks whose activations are there at the same moment.
        side_by_side: whether networks take each step together, on a GPU as one with grouped
            convolutions; else each has a thread of its own.
        threads: CPU threads of each network, or of all that are side by side; 0 on a GPU.
        batch_size: the recipe's.
        micro_batch: most pictures of a batch that go through a network at once.
        recompute: whether activations inside blocks are computed twice instead of kept.
        precision: of convolutions.
        answers_bytes: of the teachers' kept answers, part of ``shared_bytes``.
        shared_bytes: what is there once, however many networks train: process, pictures, answers.
        each_bytes: what each network in training adds.
        limit_bytes: what may be used.
    """

    device: str
    together: int
    side_by_side: bool
    threads: int
    batch_size: int
    micro_batch: int
    recompute: bool
    precision: Precision
    answers_bytes: int
    shared_bytes: int
    each_bytes: int
    limit_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The most memory that is expected to be used; only coupled members add to it."""
        return self.shared_bytes + self.together * self.each_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data."""
        return {**asdict(self), "peak_bytes": self.peak_bytes}

    def __str__(self) -> str:
        how = "side by side" if self.side_by_side else "one by one"
        if self.threads and self.side_by_side:
            how = f"at once, coupled, on {self.threads} thread{'s' * (self.threads > 1)}"
        elif self.threads and self.together > 1:
            how = f"at once, {self.threads} thread{'s' * (self.threads > 1)} each"
        extra = ", activations computed twice" if self.recompute else ""
        answers = f" (teachers' answers {_mib(self.answers_bytes)})" if self.answers_bytes else ""
        return (
            f"{self.together} {how} on {self.device} in {self.precision}, {self.micro_batch}"
            f" pictures at a time{extra}; {_mib(self.shared_bytes)}{answers} +"
            f" {self.together} × {_mib(self.each_bytes)} = {_mib(self.peak_bytes)}"
            f" of {_mib(self.limit_bytes)}"
        )


def plan_memory(
    recipe: Recipe,
    *,
    networks: int,
    size: int,
    classes: int,
    device: torch.device,
    shared_bytes: int,
    answers_bytes: int = 0,
    limit_bytes: int | None = None,
) -> MemoryPlan:
    """Find the plan that trains most networks at once within the limit.

    Args:
        recipe: its ``student`` is what is trained.
        networks: how many there are to train.
        size: of the pictures, in pixels.
        classes: number of classes.
        device: where to train.
        shared_bytes: what the process holds already and will hold however many networks train.
        answers_bytes: how much of that is teachers' answers.
        limit_bytes: what may be used; none for all that the device has.

    Raises:
        NotEnoughMemory: nothing fits; says what the smallest plan needs.
    """
    cores = torch.get_num_threads()
    on_cpu = device.type == "cpu"
    coupled = recipe.is_coupled
    most = min(networks, cores) if on_cpu and not coupled else networks
    if coupled:  # the weights of all are there, however many activations are
        weights, _ = training_bytes(recipe.student, size, classes, recipe.precision, False)
        shared_bytes += int(networks * (1 + _CHECKPOINT_SHARE) * weights)
    first = MemoryPlan(
        device=device.type,
        together=most,
        side_by_side=coupled or (not on_cpu and most > 1),
        # Decided once by the recipe and the machine, so that a member that is resumed alone is
        # computed as it was beside others: the number of threads changes the last bits.
        threads=(cores if coupled else max(1, cores // most)) if on_cpu else 0,
        batch_size=recipe.batch_size,
        micro_batch=recipe.batch_size,
        recompute=False,
        precision=recipe.precision,
        answers_bytes=answers_bytes,
        shared_bytes=shared_bytes,
        each_bytes=0,
        limit_bytes=memory_of(device) if limit_bytes is None else limit_bytes,
    )
    plan: MemoryPlan | None = None
    for candidate in _retreat(first, recipe):
        plan = _filled(candidate, recipe, size, classes)
        if plan.peak_bytes <= plan.limit_bytes:
            return plan
    smallest = plan.peak_bytes if plan else 0
    what = f"{networks} coupled {recipe.student} need" if coupled else f"one {recipe.student} needs"
    raise NotEnoughMemory(
        f"{what} {smallest:,} bytes even with activations computed twice"
        f" and {plan.micro_batch if plan else 0} pictures at a time;"
        f" the limit is {first.limit_bytes:,}"
    )


def smaller_plan(plan: MemoryPlan, recipe: Recipe, size: int, classes: int) -> MemoryPlan | None:
    """Return the next plan in the order of retreat, or none if there is none."""
    for candidate in _retreat(plan, recipe):
        if candidate != plan:
            return _filled(candidate, recipe, size, classes)
    return None


def _retreat(plan: MemoryPlan, recipe: Recipe) -> Iterator[MemoryPlan]:
    yield plan
    together = plan.together
    while together > 1 and not recipe.is_coupled:
        together = (together + 1) // 2
        plan = replace(plan, together=together, side_by_side=plan.side_by_side and together > 1)
        yield plan
    if not plan.recompute:
        plan = replace(plan, recompute=True)
        if recipe.is_coupled and plan.threads:  # those that compute, see ``member_threads``
            plan = replace(plan, together=min(plan.together, plan.threads))
        yield plan
    while plan.together > 1 and recipe.is_coupled and plan.threads:
        plan = replace(plan, together=(plan.together + 1) // 2)
        yield plan
    batch, pieces = plan.batch_size, 2
    while batch // pieces >= SMALLEST_MICRO_BATCH:  # of even pieces, this is the smallest
        micro_batch = math.ceil(batch / pieces)
        if micro_batch < plan.micro_batch:
            plan = replace(plan, micro_batch=micro_batch)
            yield plan
        pieces *= 2


def _filled(plan: MemoryPlan, recipe: Recipe, size: int, classes: int) -> MemoryPlan:
    # In a thread of its own a network is computed again as a whole, so it has all activations.
    by_blocks = plan.recompute and not (recipe.is_coupled and plan.threads)
    weights, activations = training_bytes(recipe.student, size, classes, plan.precision, by_blocks)
    each = _MARGIN * plan.micro_batch * activations + _FIXED_BYTES
    if not recipe.is_coupled:
        each += (1 + _CHECKPOINT_SHARE) * weights
    return replace(plan, each_bytes=int(each))


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
