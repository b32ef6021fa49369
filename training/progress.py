"""What a running distillation tells, and what can be said from it about the time left."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

import torch

from models.resnet import build_network
from training.memory import MemoryPlan

Role = Literal["teacher", "answers", "member", "ensemble"]


@dataclass(frozen=True)
class Part:
    """One piece of a job: a teacher to train, a teacher's answers to keep, or a member to train.

    The last piece, the ensemble, is put together when all members are there.

    Attributes:
        role: what it is.
        index: its place among those of its role.
        shared: what it is called among all jobs, where others may need the very same: a teacher's
            digest. Empty for what is of use to one job only.
    """

    role: Role
    index: int = 0
    shared: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.role} {self.index}"


@dataclass(frozen=True)
class DataRead:
    """So many of so many pictures are decoded."""

    done: int
    total: int


@dataclass(frozen=True)
class PlannedPart:
    """A piece of work: its epochs, and the operations one epoch of it takes.

    Of a teacher's answers an epoch is one view of every picture.
    """

    part: Part
    network: str
    epochs: int
    operations_per_epoch: float


@dataclass(frozen=True)
class Planned:
    """What is going to be trained, in this order."""

    parts: tuple[PlannedPart, ...]


@dataclass(frozen=True)
class MemoryPlanned:
    """What is going to be trained at once; told again when memory was less than expected."""

    plan: MemoryPlan


@dataclass(frozen=True)
class BatchDone:
    """A part is this far into an epoch (counted from 1); ``share`` is from 0 to 1."""

    part: Part
    epoch: int
    share: float


@dataclass(frozen=True)
class EpochDone:
    """A part finished an epoch (counted from 1).

    Attributes:
        part: which network.
        epoch: the epoch that is finished.
        epochs: how many there will be.
        train_loss: mean over the epoch's steps.
        val_accuracy: top-1 on validation, 0 to 1.
        seconds: that the epoch took, evaluation included.
    """

    part: Part
    epoch: int
    epochs: int
    train_loss: float
    val_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Resumed:
    """A part goes on after this many epochs that were trained before, with its curve so far."""

    part: Part
    curve: tuple[EpochDone, ...]


@dataclass(frozen=True)
class PartDone:
    """A part is trained."""

    part: Part


@dataclass(frozen=True)
class PartKept:
    """What was made of a part that jobs share is in the store, where all of them find it."""

    part: Part


@dataclass(frozen=True)
class Evaluating:
    """All members are trained; the ensemble is being evaluated and written."""


Event = (
    DataRead
    | Planned
    | MemoryPlanned
    | BatchDone
    | EpochDone
    | Resumed
    | PartDone
    | PartKept
    | Evaluating
)
Report = Callable[[Event], None]
"""Called in the training process after each batch: it must be quick."""

Check = Callable[[], None]
"""Called before each batch; raises one of the ``Stopped`` errors when the work is to end."""


@cache
def operations(network: str, size: int) -> float:
    """Return the floating-point operations of one picture's forward pass.

    Args:
        network: its name.
        size: height and width of the picture in pixels.
    """
    # It brings Triton, which every process would take a fifth of a second to import.
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.inference_mode():
        build_network(network, classes=100).eval()(torch.empty(1, 3, size, size))
    return float(counter.get_total_flops())


class TimeLeft:
    """Turns events into a share done and an estimate of the seconds left.

    Epochs of different networks are weighed by their operations. The rate is that of the work
    this process has done; epochs that were found finished count as done but not for the rate.
    """

    def __init__(self) -> None:
        self._plan: dict[Part, PlannedPart] = {}
        self._epochs: dict[Part, float] = {}
        self._found = 0.0
        self._since: float | None = None

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case Planned(parts):
                self._plan = {planned.part: planned for planned in parts}
                self._epochs = dict.fromkeys(self._plan, 0.0)
                self._since = time.monotonic()
            case Resumed(part, curve):
                before = self._done()
                self._epochs[part] = len(curve)
                self._found += self._done() - before
            case BatchDone(part, epoch, share):
                self._epochs[part] = epoch - 1 + share
            case EpochDone(part=part, epoch=epoch):
                self._epochs[part] = epoch
            case PartDone(part):
                self._epochs[part] = self._plan[part].epochs

    @property
    def share(self) -> float:
        """How much of all planned operations is done, 0 to 1."""
        total = self._total()
        return self._done() / total if total else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds until all parts are trained; none before anything is known."""
        worked = self._done() - self._found
        if self._since is None or worked <= 0:
            return None
        return (time.monotonic() - self._since) / worked * (self._total() - self._done())

    def _done(self) -> float:
        return sum(
            self._plan[part].operations_per_epoch * epochs for part, epochs in self._epochs.items()
        )

    def _total(self) -> float:
        return sum(planned.operations_per_epoch * planned.epochs for planned in self._plan.values())
