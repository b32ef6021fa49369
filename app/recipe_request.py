"""The recipe as it is posted: checked here, once, and turned into ``training``'s own type."""

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from models.names import ID_PATTERN, is_network, network_names
from training.bounds import BOUNDS
from training.recipe import (
    NAME_PATTERN,
    PRESETS,
    DistillationLoss,
    DistillationSchedule,
    EnsembleTeacher,
    Initialisation,
    Optimiser,
    Precision,
    Promote,
    Recipe,
    Schedule,
    Teacher,
    TrainedTeacher,
)
from training.recipe_check import check_recipe


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


NETWORKS = network_names()
"""Those that have a name of their own; each also comes wider, as ``resnet14x2``."""

Network = Annotated[str, Field(max_length=32), AfterValidator(_known_network)]
Name = Annotated[str, Field(pattern=f"^{NAME_PATTERN}$")]
EnsembleId = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]


class Strict(BaseModel):
    """A request of which every field is known and of the right type."""

    # No coercion: "10" or true for a number is a mistake of the sender, better told than guessed.
    model_config = ConfigDict(extra="forbid", strict=True)


class TrainedTeacherRequest(Strict):
    """A teacher to train for this job, or to find if it was trained before.

    What is left out is as in the preset.
    """

    student: Network = TrainedTeacher.student
    epochs: Annotated[int, _bounded_whole("teacher.epochs")] = TrainedTeacher.epochs
    seed: Annotated[int, _bounded_whole("teacher.seed")] = TrainedTeacher.seed


class EnsembleTeacherRequest(Strict):
    """A finished ensemble as teacher."""

    ensemble: EnsembleId


TRAINED, FINISHED = "<trained teacher>", "<ensemble as teacher>"
ONE, SEVERAL = "<one teacher>", "<several teachers>"
TEACHER_KINDS = {TRAINED, FINISHED, ONE, SEVERAL}
"""The kinds of teacher; decided before checking, so that errors speak of one of them."""


def _teacher_kind(value: object) -> str:
    names_ensemble = isinstance(value, EnsembleTeacherRequest) or (
        isinstance(value, dict) and "ensemble" in value
    )
    return FINISHED if names_ensemble else TRAINED


def _how_many(value: object) -> str:
    return SEVERAL if isinstance(value, list) else ONE


TeacherRequest = Annotated[
    Annotated[TrainedTeacherRequest, Tag(TRAINED)]
    | Annotated[EnsembleTeacherRequest, Tag(FINISHED)],
    Discriminator(_teacher_kind),
]
TeachersRequest = Annotated[
    Annotated[TeacherRequest, Tag(ONE)]
    | Annotated[list[TeacherRequest], Field(min_length=1, max_length=100), Tag(SEVERAL)],
    Discriminator(_how_many),
]


class RecipeRequest(Strict):
    """A recipe as posted: the preset, and what is to differ from it."""

    preset: Annotated[
        Literal["seed", "default", "strong"], Field(description="what all other fields start from")
    ] = "default"
    name: Annotated[
        str, Field(pattern=f"^({NAME_PATTERN})?$", description="what the ensemble is called")
    ] = ""
    dataset: Annotated[Name, Field(description="`cifar100`, or a folder of pictures")] = (
        Recipe.dataset
    )
    student: Annotated[Network, Field(description="network of each member")] = Recipe.student
    members: Annotated[int, _bounded_whole("members")] = Recipe.members
    teacher: TeachersRequest | None = Field(
        default_factory=TrainedTeacherRequest,
        description="who teaches: networks to train, finished ensembles, or nobody",
    )
    teacher_views: Annotated[int, _bounded_whole("teacher_views")] = Recipe.teacher_views
    epochs: Annotated[int, _bounded_whole("epochs")] = Recipe.epochs
    batch_size: Annotated[int, _bounded_whole("batch_size")] = Recipe.batch_size
    optimiser: Annotated[Optimiser, Field(description="what takes the steps")] = Recipe.optimiser
    learning_rate: Annotated[float, _bounded("learning_rate")] = Recipe.learning_rate
    muon_learning_rate: Annotated[float, _bounded("muon_learning_rate")] = Recipe.muon_learning_rate
    momentum: Annotated[float, _bounded("momentum")] = Recipe.momentum
    nesterov: Annotated[bool, Field(description="look ahead along the momentum of SGD")] = (
        Recipe.nesterov
    )
    weight_decay: Annotated[float, _bounded("weight_decay")] = Recipe.weight_decay
    muon_weight_decay: Annotated[float, _bounded("muon_weight_decay")] = Recipe.muon_weight_decay
    schedule: Annotated[
        Schedule, Field(description="how the step size changes over the training")
    ] = Recipe.schedule
    initial_ensemble: Annotated[
        str,
        Field(
            pattern=f"^({ID_PATTERN})?$",
            description="the ensemble whose members' weights the members begin with; empty: none",
        ),
    ] = Recipe.initial_ensemble
    initialisation: Annotated[
        Initialisation, Field(description="how initial weights are drawn")
    ] = Recipe.initialisation
    distillation_loss: Annotated[
        DistillationLoss, Field(description="how members are compared with their teacher")
    ] = Recipe.distillation_loss
    temperature: Annotated[float, _bounded("temperature")] = Recipe.temperature
    temperature_spread: Annotated[float, _bounded("temperature_spread")] = Recipe.temperature_spread
    distillation_weight: Annotated[float, _bounded("distillation_weight")] = (
        Recipe.distillation_weight
    )
    distillation_weight_spread: Annotated[float, _bounded("distillation_weight_spread")] = (
        Recipe.distillation_weight_spread
    )
    distillation_schedule: Annotated[
        DistillationSchedule,
        Field(description="how the teacher's weight changes over the training"),
    ] = Recipe.distillation_schedule
    pooled_weight: Annotated[float, _bounded("pooled_weight")] = Recipe.pooled_weight
    label_smoothing: Annotated[float, _bounded("label_smoothing")] = Recipe.label_smoothing
    augmentation: Annotated[
        Literal["none", "small_crop_flip", "crop_flip"],
        Field(description="how pictures are changed each time they are shown"),
    ] = "crop_flip"
    precision: Annotated[
        Precision, Field(description="of the numbers that networks are trained with")
    ] = Recipe.precision
    validation_fraction: Annotated[float, _bounded("validation_fraction")] = (
        Recipe.validation_fraction
    )
    seed: Annotated[int, _bounded_whole("seed")] = Recipe.seed
    promote: Annotated[
        Promote, Field(description="whether the finished ensemble is made the serving one")
    ] = Recipe.promote

    def to_recipe(self) -> Recipe:
        """Return the preset with the posted fields put over it.

        Raises:
            InvalidRecipe: fields that are fine alone contradict each other.
        """
        preset = PRESETS[self.preset]
        given: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set}
        if "teacher" in given:
            asked = self.teacher if isinstance(self.teacher, list) else [self.teacher]
            given["teacher"] = tuple(
                _teacher(teacher, preset) for teacher in asked if teacher is not None
            )
        recipe = replace(preset, **given)
        check_recipe(recipe)
        return recipe


def _teacher(request: TrainedTeacherRequest | EnsembleTeacherRequest, preset: Recipe) -> Teacher:
    if isinstance(request, EnsembleTeacherRequest):
        return EnsembleTeacher(request.ensemble)
    given = {name: getattr(request, name) for name in request.model_fields_set}
    first = preset.teacher[0] if preset.teacher else None
    return replace(first if isinstance(first, TrainedTeacher) else TrainedTeacher(), **given)
