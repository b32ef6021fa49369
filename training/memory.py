"""The memory plan: how many networks train together so that everything fits, made beforehand.

The order of retreat when it does not fit: fewer together, then one by one, then activations
computed twice, then batches in pieces of at least 64 pictures, which changes what BatchNorm sees
and is therefore last.
"""

import os
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.errors import NotEnoughMemory
from models.resnet import build_network
from training.recipe import Precision, Recipe
from training.recompute import recompute_blocks

SMALLEST_MICRO_BATCH = 64
"""BatchNorm's statistics of fewer pictures are too noisy to be called the recipe's."""

_MARGIN = 1.15
"""On activations: the allocator's rounding, and workspace of convolutions."""

_BATCH_BYTES = 100
"""For each pixel of a batch: indices of the crop, and the picture as bytes and as floats."""

_FIXED_BYTES = 32 * 2**20
"""Of each network: scratch space of the libraries."""

_CHECKPOINT_SHARE = 1.2
"""Of weights, gradients and momentum: the copies that are written to a checkpoint."""


@dataclass(frozen=True)
class MemoryPlan:
    """How networks are trained at once, and what memory that is expected to take.

    Attributes:
        device: kind of device.
        together: networks in training at the same moment.
        side_by_side: whether those are one network with grouped convolutions; else each has a
            thread of its own.
        threads: CPU threads of each network; 0 on a GPU.
        micro_batch: most pictures that go through a network at once.
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
    micro_batch: int
    recompute: bool
    precision: Precision
    answers_bytes: int
    shared_bytes: int
    each_bytes: int
    limit_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The most memory that is expected to be used; the number of members is no part of it."""
        return self.shared_bytes + self.together * self.each_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-ready data."""
        return {**asdict(self), "peak_bytes": self.peak_bytes}

    def __str__(self) -> str:
        how = "side by side" if self.side_by_side else "one by one"
        if self.threads and self.together > 1:
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
    most = min(networks, cores) if on_cpu else networks
    first = MemoryPlan(
        device=device.type,
        together=most,
        side_by_side=not on_cpu and most > 1,
        # Decided once by the recipe and the machine, so that a member that is resumed alone is
        # computed as it was beside others: the number of threads changes the last bits.
        threads=max(1, cores // most) if on_cpu else 0,
        micro_batch=recipe.batch_size,
        recompute=False,
        precision=recipe.precision,
        answers_bytes=answers_bytes,
        shared_bytes=shared_bytes,
        each_bytes=0,
        limit_bytes=limit_bytes or memory_of(device),
    )
    plan: MemoryPlan | None = None
    for candidate in _retreat(first):
        plan = _filled(candidate, recipe.student, size, classes)
        if plan.peak_bytes <= plan.limit_bytes:
            return plan
    smallest = plan.peak_bytes if plan else 0
    raise NotEnoughMemory(
        f"one {recipe.student} needs {smallest:,} bytes even in batches of"
        f" {min(SMALLEST_MICRO_BATCH, recipe.batch_size)} with activations computed twice;"
        f" the limit is {first.limit_bytes:,}"
    )


def smaller_plan(plan: MemoryPlan, recipe: Recipe, size: int, classes: int) -> MemoryPlan | None:
    """Return the next plan in the order of retreat, or none if there is none."""
    for candidate in _retreat(plan):
        if candidate != plan:
            return _filled(candidate, recipe.student, size, classes)
    return None


def _retreat(plan: MemoryPlan) -> Iterator[MemoryPlan]:
    yield plan
    together = plan.together
    while together > 1:
        together = (together + 1) // 2
        plan = replace(plan, together=together, side_by_side=plan.side_by_side and together > 1)
        yield plan
    if not plan.recompute:
        plan = replace(plan, recompute=True)
        yield plan
    while plan.micro_batch >= 2 * SMALLEST_MICRO_BATCH:
        plan = replace(plan, micro_batch=plan.micro_batch // 2)
        yield plan


def _filled(plan: MemoryPlan, network: str, size: int, classes: int) -> MemoryPlan:
    weights, activations = training_bytes(network, size, classes, plan.precision, plan.recompute)
    each = (1 + _CHECKPOINT_SHARE) * weights + _MARGIN * plan.micro_batch * activations
    each += _FIXED_BYTES
    return replace(plan, each_bytes=int(each))


@cache
def training_bytes(
    network: str, size: int, classes: int, precision: Precision, recompute: bool
) -> tuple[int, int]:
    """Return bytes of a network's weights, gradients and momentum, and of each picture's pass.

    The second is measured: tensors that a forward pass of two pictures saves for the backward
    pass, and of those the two largest once more, for the gradients that flow back. With
    ``recompute``, what is kept between blocks and the most that any one block needs.
    """
    with torch.random.fork_rng(devices=[]):
        built = build_network(network, classes).train()
    parameters = {parameter.data_ptr() for parameter in built.parameters()}
    weights = 3 * sum(p.numel() * p.element_size() for p in built.parameters())
    pictures = 2
    kept: dict[int, Tensor] = {}  # held, or a freed tensor's address would be given out again

    def save(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr()] = tensor
        return tensor

    images = torch.zeros(pictures, 3, size, size)
    forward = recompute_blocks(built) if recompute else built
    with (
        torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"),
    ):
        forward(images).float().log_softmax(dim=1).sum()
    sizes = [tensor.numel() * tensor.element_size() for tensor in kept.values()]
    # Weights cast to bfloat16 are saved too, and do not grow with the batch.
    casts = weights // 6 if precision == "bf16" else 0
    flowing = 2 * max(sizes)
    if recompute:
        flowing = max(flowing, pictures * _block_bytes(network, size, classes, precision))
    each = max(sum(sizes) - casts, 0) + flowing
    return weights + casts, each // pictures + _BATCH_BYTES * size**2


def _block_bytes(network: str, size: int, classes: int, precision: Precision) -> int:
    """Return what the largest block needs of each picture while it is computed again.

    Somewhat more than half of all activations belong to the first stage, whose pictures are the
    largest; beside those of one of its blocks there are as many gradients.
    """
    _, everything = training_bytes(network, size, classes, precision, recompute=False)
    with torch.device("meta"):
        first_stage = next(build_network(network, classes).stages.children())
    return int(1.2 * everything) // len(list(first_stage.children()))


def memory_of(device: torch.device) -> int:
    """Return the bytes a device has for this process, or what its container may use if less."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [physical]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        file = Path(name)
        if file.exists() and re.fullmatch(r"\d+", text := file.read_text().strip()):
            limits.append(int(text))
    return min(limits)


def peak_resident_bytes() -> int:
    """Return the most memory this process has held so far."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent held when it started this process
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that there was no memory left, on whichever device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in str(error) or "could not allocate" in str(error)
    )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
