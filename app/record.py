"""A job as its owner sees it: what was asked for, and what its workers have told so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.schemas import Epoch, Job, JobPromotion, NetworkProgress, PartStatus
from models.ensemble import EnsembleManifest
from training.progress import Part
from training.promotion import Promotion

ENSEMBLE = Part("ensemble")
"""The last piece of every job; it takes no training, so no plan names it."""


def piece_name(part: Part) -> str:
    """Return what a piece is called in Redis: ``member-3``."""
    return f"{part.role}-{part.index}"


@dataclass(frozen=True)
class Glance:
    """An unfinished job's pieces and workers at one moment.

    Attributes:
        started_at: when it was first worked on, ISO 8601.
        operations: what each piece takes, by its name; empty until a worker has planned them.
        plan: the memory plan that was made last.
        pieces: how far each is that a worker has told of, by its name.
        holders: by a piece's name, the living worker that does it or did it. One that jobs share
            may be done for another of them.
        rates: by a living worker's id, its operations per second.
        died: ids of the workers that died since an epoch was last finished.
    """

    started_at: str | None = None
    operations: Mapping[str, float] = field(default_factory=dict)
    plan: dict[str, Any] | None = None
    pieces: Mapping[str, NetworkProgress] = field(default_factory=dict)
    holders: Mapping[str, str] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    died: frozenset[str] = frozenset()

    @property
    def progress(self) -> float:
        """How much of all operations is done, 0 to 1."""
        total = sum(self.operations.values())
        return min(1.0, self._done / total) if total else 0.0

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until all is trained at the rate of now; none while nobody has trained yet."""
        rate = sum(self.rates.values())
        return (sum(self.operations.values()) - self._done) / rate if rate else None

    @property
    def wants_workers(self) -> bool:
        """Whether there is more to begin than there are workers that have yet to choose."""
        undecided = self.rates.keys() - set(self.holders.values())
        return self._open() > len(undecided)

    @property
    def _done(self) -> float:
        return sum(
            operations * self.pieces[name].progress
            for name, operations in self.operations.items()
            if name in self.pieces
        )

    def _open(self) -> int:
        """Return how many pieces nobody has that could be begun now."""
        if not self.operations:
            return 1  # whatever there is
        for role in ("teacher", "answers", "member"):  # members need all teachers
            missing = [
                name
                for name in self.operations
                if name.startswith(f"{role}-")
                and not (name in self.pieces and self.pieces[name].status == "succeeded")
            ]
            if missing:
                return len(set(missing) - self.holders.keys())
        return 0 if piece_name(ENSEMBLE) in self.holders else 1


def job_of(request: dict[str, Any], glance: Glance) -> Job:
    """Return an unfinished job.

    Args:
        request: its ``id``, ``recipe`` and ``created_at``, and its ``request_id`` if it has one.
        glance: what is known of its pieces and workers.
    """
    recipe = request["recipe"]
    teachers = recipe["teacher"]
    if not isinstance(teachers, list):
        teachers = [teachers] if teachers else []
    trained = [
        _progress("teacher", index, teacher["epochs"], glance)
        for index, teacher in enumerate(teachers)
        if "epochs" in teacher
    ]
    running = bool(glance.rates)
    eta = glance.eta_seconds if running else None
    return Job(
        id=request["id"],
        status="running" if running else "queued",
        recipe=recipe,
        progress=round(glance.progress, 4),
        eta_seconds=None if eta is None else round(eta, 1),
        workers=len(glance.rates),
        teacher=trained[0] if trained else None,
        teachers=trained,
        members=[
            _progress("member", index, recipe["epochs"], glance)
            for index in range(recipe["members"])
        ],
        plan=glance.plan,
        request_id=request.get("request_id"),
        created_at=request["created_at"],
        started_at=datetime.fromisoformat(glance.started_at) if glance.started_at else None,
    )


def finished_job(
    job: Job,
    manifest: EnsembleManifest,
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    promotion: Promotion,
) -> Job:
    """Return a job with its ensemble.

    Args:
        job: as its workers have told it; one of them may have been killed before it told all.
        manifest: the ensemble.
        curves: what each network's epochs reported, from the ensemble's report.
        promotion: whether it serves.
    """
    teachers = [_succeeded("teacher", piece, curves) for piece in job.teachers]
    return job.model_copy(
        update={
            "teacher": teachers[0] if teachers else None,
            "teachers": teachers,
            "members": [_succeeded("member", piece, curves) for piece in job.members],
            "ensemble": manifest.id,
            "metrics": manifest.metrics,
            "promotion": JobPromotion(promoted=promotion.promoted, reason=promotion.reason),
        }
    )


def _succeeded(
    role: str, piece: NetworkProgress, curves: Mapping[str, Sequence[Mapping[str, Any]]]
) -> NetworkProgress:
    changes: dict[str, Any] = {"status": "succeeded", "progress": 1.0}
    told = curves.get(f"{role} {piece.index}", [])
    if curve := [Epoch(**{**epoch, "seconds": round(epoch["seconds"], 3)}) for epoch in told]:
        last = curve[-1]
        changes |= {"curve": curve, "epoch": last.epoch}
        changes |= {"train_loss": last.train_loss, "val_accuracy": last.val_accuracy}
    return piece.model_copy(update=changes)


def _progress(role: str, index: int, epochs: int, glance: Glance) -> NetworkProgress:
    name = f"{role}-{index}"
    piece = glance.pieces.get(name)
    if piece is None:
        status: PartStatus = "running" if name in glance.holders else "queued"
        return NetworkProgress(index=index, epochs=epochs, status=status)
    if piece.status == "running" and name not in glance.holders:
        return piece.model_copy(update={"status": "queued"})  # its worker is gone
    return piece
