"""A job as the service tells of it."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
PartStatus = Literal["queued", "running", "succeeded"]


class Epoch(BaseModel):
    """One finished epoch of a learning curve."""

    epoch: int
    train_loss: float
    val_accuracy: float
    seconds: float


class NetworkProgress(BaseModel):
    """How far a teacher or member is."""

    index: int = Field(0, description="its place among the job's teachers or members")
    status: PartStatus = Field("queued", description="`running` while a worker holds it")
    progress: float = Field(0.0, ge=0, le=1)
    epoch: int = Field(0, description="finished epochs")
    epochs: int
    train_loss: float | None = None
    val_accuracy: float | None = None
    curve: list[Epoch] = []
    attempts: int = Field(0, description="how often its training was begun or resumed")


class JobError(BaseModel):
    """Why a job failed, and what its owner can change."""

    type: str
    title: str
    detail: str


class JobPromotion(BaseModel):
    """Whether the job's ensemble was made the serving one, and why."""

    promoted: bool
    reason: str


class StateChange(BaseModel):
    """When a job came into a state, who saw it, and why."""

    status: JobStatus
    at: datetime
    by: str = Field(description="`api`, or the host and the process of a worker")
    why: str | None = None


class Job(BaseModel):
    """A request to distil an ensemble, and how far it is."""

    id: str
    status: JobStatus
    recipe: dict[str, Any]
    progress: float = Field(0.0, ge=0, le=1)
    eta_seconds: float | None = Field(None, description="at the rate of the workers on it now")
    workers: int = Field(0, description="how many work on it now")
    teacher: NetworkProgress | None = Field(None, description="the first of `teachers`")
    teachers: list[NetworkProgress] = Field([], description="those that are trained for the job")
    members: list[NetworkProgress] = []
    plan: dict[str, Any] | None = Field(
        None, description="how networks are trained at once, and the memory that is to take"
    )
    ensemble: str | None = None
    promotion: JobPromotion | None = None
    metrics: dict[str, Any] | None = None
    error: JobError | None = None
    history: list[StateChange] = Field([], description="its states so far, the first one first")
    request_id: str | None = Field(None, description="`X-Request-ID` of what asked for it")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing will change any more."""
        return self.status not in {"queued", "running"}


class JobPage(BaseModel):
    """Some jobs, newest first."""

    jobs: list[Job]
    next_cursor: str | None = Field(None, description="``cursor`` of the next page, if any")
