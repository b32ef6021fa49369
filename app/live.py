"""The record of a running job: training events in, the job as its owner sees it out."""

import threading
from datetime import UTC, datetime
from typing import Any

from app.schemas import Epoch, Job, JobPromotion, NetworkProgress
from models.ensemble import EnsembleManifest
from training.progress import (
    BatchDone,
    EpochDone,
    Event,
    Part,
    PartDone,
    Resumed,
    TimeLeft,
)
from training.promotion import Promotion


class LiveJob:
    """A job while this process trains it.

    Called with events by the thread that trains; ``snapshot`` may be called by any thread.

    Args:
        job: as it was when the worker took it.
    """

    def __init__(self, job: Job) -> None:
        self._job = job.model_copy(
            update={"status": "running", "started_at": job.started_at or datetime.now(UTC)},
            deep=True,
        )
        for progress in (*self._job.members, self._job.teacher):
            if progress is not None:  # what an earlier attempt left is told anew by ``Resumed``
                progress.status, progress.epoch, progress.curve = "queued", 0, []
                progress.train_loss = progress.val_accuracy = None
        self._time_left = TimeLeft()
        self._epochs: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        with self._lock:
            self._take(event)

    def _take(self, event: Event) -> None:
        self._time_left(event)
        match event:
            case Resumed(part, curve):
                progress = self._of(part)
                if len(curve) < progress.epochs:  # else it was finished, and nothing begins
                    self._begin(part)
                progress.curve = [_epoch(done) for done in curve]
                if curve:
                    self._note(part, curve[-1])
            case BatchDone(part, _, _) if self._of(part).status == "queued":
                self._begin(part)
            case EpochDone(part=part):
                self._of(part).curve.append(_epoch(event))
                self._note(part, event)
                self._epochs.append(
                    {"role": part.role, "index": part.index, **_epoch(event).model_dump()}
                )
            case PartDone(part):
                self._of(part).status = "succeeded"
        self._job.progress = round(min(self._time_left.share, 1.0), 4)
        left = self._time_left.seconds_left
        self._job.eta_seconds = None if left is None else round(left, 1)

    def snapshot(self) -> Job:
        """Return a copy of the job as it is now."""
        with self._lock:
            return self._job.model_copy(deep=True)

    def take_epochs(self) -> list[dict[str, Any]]:
        """Return the epochs finished since the last call."""
        with self._lock:
            epochs, self._epochs = self._epochs, []
            return epochs

    def succeeded(self, manifest: EnsembleManifest, promotion: Promotion) -> Job:
        """Return the job with its ensemble."""
        self._job.ensemble = manifest.id
        self._job.metrics = manifest.metrics
        self._job.promotion = JobPromotion(promoted=promotion.promoted, reason=promotion.reason)
        return self.snapshot()

    def _of(self, part: Part) -> NetworkProgress:
        if part.role == "member":
            return self._job.members[part.index]
        if self._job.teacher is None:
            raise LookupError("a job without a teacher reported one")
        return self._job.teacher

    def _begin(self, part: Part) -> NetworkProgress:
        progress = self._of(part)
        progress.status = "running"
        if part.role == "member":
            self._job.members[part.index].attempts += 1
        return progress

    def _note(self, part: Part, done: EpochDone) -> None:
        progress = self._of(part)
        progress.epoch, progress.epochs = done.epoch, done.epochs
        progress.train_loss, progress.val_accuracy = done.train_loss, done.val_accuracy


def _epoch(done: EpochDone) -> Epoch:
    return Epoch(
        epoch=done.epoch,
        train_loss=done.train_loss,
        val_accuracy=done.val_accuracy,
        seconds=round(done.seconds, 3),
    )
