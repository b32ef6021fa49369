"""What travels over HTTP: requests are checked here, once, and become ``training``'s own types."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from models.resnet import is_network, network_names
from training.recipe import (
    BOUNDS,
    NAME_PATTERN,
    PRESETS,
    EnsembleTeacher,
    Precision,
    Promote,
    Recipe,
    Schedule,
    Teacher,
    TrainedTeacher,
    check_recipe,
)


def _bounded(name: str) -> Any:
    bounds = BOUNDS[name]
    return Field(ge=bounds.low, le=bounds.high, description=bounds.meaning, allow_inf_nan=False)


def _bounded_whole(name: str) -> Any:
    bounds = BOUNDS[name]
    return Field(ge=int(bounds.low), le=int(bounds.high), description=bounds.meaning)


def _known_network(name: str) -> str:
    if not is_network(name):
        raise ValueError(f"is none of {', '.join(network_names())}")
    return name


Network = Annotated[str, Field(max_length=32), AfterValidator(_known_network)]
Name = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]


class _Strict(BaseModel):
    # No coercion: "10" or true for a number is a mistake of the sender, better told than guessed.
    model_config = ConfigDict(extra="forbid", strict=True)


class TrainedTeacherRequest(_Strict):
    """A teacher to train for this job, or to find if it was trained before."""

    student: Network = TrainedTeacher.student
    epochs: Annotated[int, _bounded_whole("teacher.epochs")] = TrainedTeacher.epochs


class EnsembleTeacherRequest(_Strict):
    """A finished ensemble as teacher."""

    ensemble: Name


def _teacher_kind(value: object) -> str:
    names_ensemble = isinstance(value, EnsembleTeacherRequest) or (
        isinstance(value, dict) and "ensemble" in value
    )
    return FINISHED if names_ensemble else TRAINED


TRAINED, FINISHED = "<trained teacher>", "<ensemble as teacher>"
"""The two kinds of teacher; decided before checking, so that errors speak of one of them."""

TeacherRequest = Annotated[
    Annotated[TrainedTeacherRequest, Tag(TRAINED)]
    | Annotated[EnsembleTeacherRequest, Tag(FINISHED)],
    Discriminator(_teacher_kind),
]


class RecipeRequest(_Strict):
    """A recipe as posted: the preset, and what is to differ from it."""

    preset: Literal["seed", "default", "strong"] = "default"
    name: Name = ""
    dataset: Name = Recipe.dataset
    student: Network = Recipe.student
    members: Annotated[int, _bounded_whole("members")] = Recipe.members
    teacher: TeacherRequest | None = None
    epochs: Annotated[int, _bounded_whole("epochs")] = Recipe.epochs
    batch_size: Annotated[int, _bounded_whole("batch_size")] = Recipe.batch_size
    learning_rate: Annotated[float, _bounded("learning_rate")] = Recipe.learning_rate
    momentum: Annotated[float, _bounded("momentum")] = Recipe.momentum
    nesterov: bool = Recipe.nesterov
    weight_decay: Annotated[float, _bounded("weight_decay")] = Recipe.weight_decay
    schedule: Schedule = Recipe.schedule
    temperature: Annotated[float, _bounded("temperature")] = Recipe.temperature
    distillation_weight: Annotated[float, _bounded("distillation_weight")] = (
        Recipe.distillation_weight
    )
    label_smoothing: Annotated[float, _bounded("label_smoothing")] = Recipe.label_smoothing
    augmentation: Literal["none", "crop_flip"] = "crop_flip"
    precision: Precision = Recipe.precision
    validation_fraction: Annotated[float, _bounded("validation_fraction")] = (
        Recipe.validation_fraction
    )
    seed: Annotated[int, _bounded_whole("seed")] = Recipe.seed
    promote: Promote = Recipe.promote

    def to_recipe(self) -> Recipe:
        """Return the preset with the posted fields put over it.

        Raises:
            InvalidRecipe: fields that are fine alone contradict each other.
        """
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        if "teacher" in given:
            given["teacher"] = _teacher(self.teacher)
        recipe = replace(PRESETS[self.preset], **given)
        check_recipe(recipe)
        return recipe


def _teacher(request: TrainedTeacherRequest | EnsembleTeacherRequest | None) -> Teacher:
    match request:
        case TrainedTeacherRequest(student=student, epochs=epochs):
            return TrainedTeacher(student, epochs)
        case EnsembleTeacherRequest(ensemble=ensemble):
            return EnsembleTeacher(ensemble)
    return None


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

    status: PartStatus = "queued"
    epoch: int = Field(0, description="finished epochs")
    epochs: int
    train_loss: float | None = None
    val_accuracy: float | None = None
    curve: list[Epoch] = []


class MemberProgress(NetworkProgress):
    """How far a member is."""

    index: int
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
    eta_seconds: float | None = None
    teacher: NetworkProgress | None = None
    members: list[MemberProgress] = []
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
    teacher: str | None
    metrics: dict[str, Any]
    bytes: int
    created_at: str


class ServingRequest(_Strict):
    """Which ensemble is to serve."""

    ensemble: Name


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
