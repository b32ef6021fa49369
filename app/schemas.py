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


PART = "file"
"""The name of every picture's part in a multipart body."""

TIMEOUT_HEADER = "X-Timeout-Ms"
TIMEOUT_MS = 10_000

Mode = Literal["default", "exact", "fast", "cascade"]


class PredictQuery(BaseModel):
    """How pictures are to be answered."""

    top_k: int | None = Field(None, ge=1, description="classes to name; 5 unless told")
    max_members: int | None = Field(None, ge=1, description="ask only the first so many members")
    mode: Mode | None = Field(None, description="how exactly, against how fast; see docs/http.md")
    conformal: float | None = Field(
        None, gt=0, lt=1, description="add the smallest set of classes that covers at this rate"
    )
    timeout_ms: int = Field(
        TIMEOUT_MS,
        ge=1,
        le=600_000,
        alias=TIMEOUT_HEADER,
        description="to be answered within, in ms",
    )


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
    outside: bool | None = Field(
        None, description="whether it looks like none of the classes; null if nobody knows"
    )


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
    conformal_set: list[TopClass] | None = Field(
        None, description="classes that hold the right one at the rate `conformal` asked for"
    )
    members_used: int


class Predictions(BaseModel):
    """The answers to all pictures of a request, in the order of its parts."""

    ensemble: str
    members: int
    engine: str = Field(description="backend and precision that computed the answers")
    mode: str
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


class Engines(BaseModel):
    """Which engines answer for the serving ensemble."""

    default: str
    exact: str
    fast: str
    reasons: dict[str, str] = Field(description="why the others do not answer by default")
    seconds: dict[str, float] = Field(description="for 32 pictures, when they were chosen")


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
    proofs: dict[str, Any] = Field(
        description="by engine, how close it came to the reference on validation pictures"
    )
    quantisation: dict[str, float] = Field(description="largest input of each convolution")
    doubt: dict[str, Any] | None = Field(
        description="conformal sets, the cascade and what counts as outside, with what they reach"
    )
    engines: Engines | None = Field(description="of the ensemble that serves, in this process")
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
