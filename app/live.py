"""What one worker is told of a job's pieces: events of the training in, news of the job out."""

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from app.schemas import Epoch, NetworkProgress
from training.progress import (
    BatchDone,
    EpochDone,
    Evaluating,
    Event,
    MemoryPlanned,
    Part,
    PartDone,
    Planned,
    Resumed,
)

_log = logging.getLogger(__name__)


@dataclass
class News:
    """What has happened since the last time somebody asked.

    Attributes:
        operations: what each piece takes in all, if the work was planned meanwhile.
        plan: the memory plan, if it was made meanwhile.
        pieces: each that has changed, as it is now.
        begun: those whose training was begun or resumed, once for each time.
        epochs: those that were finished, in order.
        resumed: how many of those begun went on from a checkpoint.
    """

    operations: dict[Part, float] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    pieces: dict[Part, NetworkProgress] = field(default_factory=dict)
    begun: list[Part] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    resumed: int = 0

    def __bool__(self) -> bool:
        return bool(self.operations or self.plan or self.pieces or self.begun or self.epochs)

    def add(self, later: "News") -> None:
        """Take note of what has happened since."""
        self.operations = later.operations or self.operations
        self.plan = later.plan or self.plan
        self.pieces |= later.pieces
        self.begun += later.begun
        self.resumed += later.resumed
        self.epochs += later.epochs


class LiveWork:
    """The pieces of a job as this process trains them, and those it found finished.

    Called with events by the threads that train; ``take_news`` may be called by any other.

    Args:
        id_: the job's.
    """

    def __init__(self, id_: str) -> None:
        self.id = id_
        self._operations: dict[Part, float] = {}
        self._pieces: dict[Part, NetworkProgress] = {}
        self._news = News()
        self._worked = 0.0
        self._since = 0.0
        self._one_at_a_time = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        with self._one_at_a_time:
            self._take(event)

    @property
    def rate(self) -> float:
        """Operations per second of what was trained here; what was found finished is no work."""
        with self._one_at_a_time:
            return self._worked / (time.monotonic() - self._since) if self._worked else 0.0

    def take_news(self) -> News:
        """Return what has happened since the last call."""
        with self._one_at_a_time:
            news, self._news = self._news, News()
            for part, piece in news.pieces.items():
                news.pieces[part] = piece.model_copy(update={"curve": list(piece.curve)})
            return news

    def _take(self, event: Event) -> None:
        match event:
            case Planned(parts):
                self._since = time.monotonic()
                for planned in parts:
                    operations = planned.epochs * planned.operations_per_epoch
                    self._operations[planned.part] = operations
                    progress = NetworkProgress(index=planned.part.index, epochs=planned.epochs)
                    self._pieces[planned.part] = progress
                self._news.operations = dict(self._operations)
            case MemoryPlanned(plan):
                self._news.plan = plan.to_dict()
            case Resumed(part, curve):
                self._resume(part, curve)
            case BatchDone(part, epoch, share):
                if self._pieces[part].status == "queued":
                    self._begin(part, "begins")
                self._advance(part, epoch - 1 + share)
            case EpochDone(part=part):
                self._advance(part, event.epoch)
                self._note(part, event)
                told = {"role": part.role, "index": part.index}
                self._news.epochs.append(told | _epoch(event).model_dump())
            case PartDone(part):
                self._done(part)
            case Evaluating():
                _log.info("job %s: all members are there; putting them together", self.id)

    def _resume(self, part: Part, curve: tuple[EpochDone, ...]) -> None:
        piece = self._changed(part)
        if len(curve) < piece.epochs:  # else it was finished, and nothing begins
            self._begin(part, f"goes on after epoch {len(curve)}" if curve else "begins")
            self._news.resumed += bool(curve)
        piece.curve, piece.epoch, piece.progress = [], 0, 0.0
        for done in curve:
            self._note(part, done)
        piece.progress = len(curve) / piece.epochs

    def _begin(self, part: Part, how: str) -> None:
        self._changed(part).status = "running"
        self._news.begun.append(part)
        _log.info("job %s: %s %s", self.id, part, how, extra={"part": str(part)})

    def _advance(self, part: Part, epochs: float) -> None:
        piece = self._changed(part)
        before, piece.progress = piece.progress, min(1.0, epochs / piece.epochs)
        self._worked += (piece.progress - before) * self._operations[part]

    def _note(self, part: Part, done: EpochDone) -> None:
        piece = self._changed(part)
        piece.curve.append(_epoch(done))
        piece.epoch, piece.epochs = done.epoch, done.epochs
        piece.train_loss, piece.val_accuracy = done.train_loss, done.val_accuracy

    def _done(self, part: Part) -> None:
        piece = self._changed(part)
        if piece.status == "running":
            accuracy = piece.val_accuracy
            how = "" if accuracy is None else f", validation accuracy {accuracy:.3f}"
            _log.info("job %s: %s is done%s", self.id, part, how, extra={"part": str(part)})
        piece.status, piece.progress = "succeeded", 1.0

    def _changed(self, part: Part) -> NetworkProgress:
        piece = self._pieces[part]
        self._news.pieces[part] = piece
        return piece


def _epoch(done: EpochDone) -> Epoch:
    return Epoch(
        epoch=done.epoch,
        train_loss=done.train_loss,
        val_accuracy=done.val_accuracy,
        seconds=round(done.seconds, 3),
    )
