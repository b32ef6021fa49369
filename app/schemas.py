"""What the service answers; what it is asked for recipes is in ``app/recipe_request.py``."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from app.recipe_request import EnsembleId, Strict

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


class TopClass(BaseModel):
    """One class and its probability."""

    label: str
    class_id: int
    probability: float


class Uncertainty(BaseModel):
    """How much an answer is to be doubted; entropies in nats."""

    entropy: float = Field(description="of the averaged probabilities")
    mutual_information: float = Field(description="entropy less the members' mean entropy")
    agreement: float = Field(description="share of the members whose likeliest class is the answer")


class Prediction(BaseModel):
    """The answer to one picture."""

    filename: str | None
    label: str
    class_id: int
    probability: float
    top_k: list[TopClass]
    probabilities: list[float] = Field(description="the members' average, by class id")
    calibrated_probability: float
    uncertainty: Uncertainty
    members_used: int


class Predictions(BaseModel):
    """The answers to all pictures of a request, in the order of its parts."""

    ensemble: str
    members: int
    predictions: list[Prediction]


class EnsembleSummary(BaseModel):
    """What there is to know about an ensemble at a glance."""

    id: str
    name: str
    network: str
    members: int
    classes: int
    dataset: dict[str, str]
    bytes: int
    serving: bool
    val_accuracy: float
    test_accuracy: float | None
    created_at: str


class EnsembleList(BaseModel):
    """All ensembles that can be served, newest first."""

    serving: str | None
    ensembles: list[EnsembleSummary]


class EnsembleDetail(BaseModel):
    """Everything an ensemble's manifest says."""

    id: str
    name: str
    serving: bool
    network: str
    members: list[dict[str, Any]] = Field(description="file, sha256 and bytes of each member")
    classes: list[str]
    size: int
    normalisation: dict[str, Any]
    temperature: float
    recipe: dict[str, Any]
    dataset: dict[str, str]
    teachers: list[str] = Field(description="digest or id of each teacher")
    metrics: dict[str, Any]
    report: dict[str, Any] | None = Field(description="file, sha256 and bytes of the report")
    bytes: int
    created_at: str


class ServingRequest(Strict):
    """Which ensemble is to serve."""

    ensemble: EnsembleId


class ServingChange(BaseModel):
    """Which ensemble serves now, and which did before."""

    ensemble: str
    members: int
    previous: str | None


class Classes(BaseModel):
    """Class names of the serving ensemble in id order."""

    ensemble: str
    classes: list[str]


class Health(BaseModel):
    """A word on how the service is."""

    status: Literal["alive", "ready"]


class FieldError(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    reason: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None
