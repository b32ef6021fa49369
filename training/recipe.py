"""The recipe: everything that decides what comes out of a job, and nothing else."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Precision = Literal["fp32", "bf16"]
Schedule = Literal["constant", "one_cycle"]
DistillationSchedule = Literal["constant", "fading"]
Optimiser = Literal["sgd", "muon"]
Initialisation = Literal["he", "dirac"]
DistillationLoss = Literal["kl", "dkd", "standardised_kl"]
Promote = Literal["always", "if_better", "never"]
AUGMENTATIONS = ("none", "small_crop_flip", "crop_flip")
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
SCHEDULES: tuple[Schedule, ...] = ("constant", "one_cycle")
DISTILLATION_SCHEDULES: tuple[DistillationSchedule, ...] = ("constant", "fading")
OPTIMISERS: tuple[Optimiser, ...] = ("sgd", "muon")
INITIALISATIONS: tuple[Initialisation, ...] = ("he", "dirac")
DISTILLATION_LOSSES: tuple[DistillationLoss, ...] = ("kl", "dkd", "standardised_kl")
PROMOTES: tuple[Promote, ...] = ("always", "if_better", "never")

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What data sets and ensembles may be called: safe as one part of a path and of a URL."""


@dataclass(frozen=True)
class TrainedTeacher:
    """A teacher that is trained for the job, or found in the store if it was trained before.

    Attributes:
        student: name of the network. The field has this name because a teacher is itself trained
            like a student, only without a teacher of its own.
        epochs: passes over the train split.
        seed: decides its weights, order and augmentation, whatever the job's seed is, so that jobs
            share it; several teachers of one kind need one each.
    """

    student: str = "resnet18"
    epochs: int = 60
    seed: int = 0


@dataclass(frozen=True)
class EnsembleTeacher:
    """A finished ensemble of the store, whose averaged softmax teaches.

    Averaged at the recipe's temperature; members with temperatures of their own soften that average
    further or less, which is close to, but not, the average at their own.

    Attributes:
        ensemble: its id.
    """

    ensemble: str


Teacher = TrainedTeacher | EnsembleTeacher


@dataclass(frozen=True)
class Recipe:
    """What to train, on what, and how. The values here are those of the preset ``default``.

    Attributes:
        preset: the preset the other fields started from.
        name: what the ensemble is called; empty for ``<student>-<members>-members``.
        dataset: ``cifar100`` or the name of a folder of pictures.
        student: network of the members.
        members: number of students.
        teacher: who teaches them, dealt out to the members in turn; nobody for a plain deep
            ensemble. As JSON one teacher, a list of them, or null.
        teacher_views: views of each picture that are drawn and answered by the teachers once, for
            all members and epochs to pick from; 0 for a fresh view each time, answered as it comes,
            which is also done where a teacher's members see fewer views than that in all.
        epochs: passes of each member over the train split.
        batch_size: pictures per step.
        optimiser: ``sgd``, or ``muon`` for convolutions and SGD for the rest.
        learning_rate: SGD's; under ``one_cycle`` the peak.
        muon_learning_rate: Muon's; under ``one_cycle`` the peak.
        momentum: SGD's.
        nesterov: whether the momentum looks ahead (Sutskever et al. 2013).
        weight_decay: SGD's, on every parameter that it moves.
        muon_weight_decay: Muon's, decoupled.
        schedule: ``constant``, or ``one_cycle``: linear warm-up over the first fifth of all steps
            and cosine down to zero (Smith & Topin 2018).
        initial_ensemble: id of a finished ensemble whose members' weights the members begin with;
            empty for fresh ones.
        initialisation: of fresh weights: ``he`` (He et al. 2015), or ``dirac``: 3x3 convolutions
            begin by passing their input on (Zagoruyko & Komodakis 2017, "DiracNets").
        distillation_loss: ``kl``, ``dkd`` or ``standardised_kl``; see ``training.losses``.
        temperature: T of the softened softmax (Hinton et al. 2015).
        temperature_spread: members have temperatures from T/spread to T·spread.
        distillation_weight: λ; the loss is (1-λ)·cross-entropy + λ·distillation loss.
        distillation_weight_spread: members have weights from λ-spread to λ+spread.
        distillation_schedule: ``constant``, or ``fading``: λ falls linearly to zero with the last
            step. A teacher saves students most of the way and holds those back that could get
            beyond it (Cho & Hariharan 2019, "On the Efficacy of Knowledge Distillation", 4.3).
        pooled_weight: w; the loss is (1-w)·the sum of the m members' own + w·m·the cross-entropy of
            their average (Webb et al. 2021), whose labels are never smoothed. Above 0 members are
            coupled: they learn together, from the same views, and none is trained alone.
        label_smoothing: share of the label spread over all classes (Szegedy et al. 2016).
        augmentation: one of ``AUGMENTATIONS``.
        precision: ``bf16`` runs convolutions in bfloat16 and keeps weights in fp32.
        validation_fraction: share of train held out where the data set has no validation.
        seed: decides initial weights, order and augmentation; never which pictures validate.
        promote: whether the finished ensemble is to serve.
    """

    preset: str = "default"
    name: str = ""
    dataset: str = "cifar100"
    student: str = "resnet14"
    members: int = 10
    teacher: tuple[Teacher, ...] = (TrainedTeacher(),)
    teacher_views: int = 16
    epochs: int = 50
    batch_size: int = 128
    optimiser: Optimiser = "muon"
    learning_rate: float = 0.2
    muon_learning_rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    muon_weight_decay: float = 2e-2
    schedule: Schedule = "one_cycle"
    initial_ensemble: str = ""
    initialisation: Initialisation = "he"
    distillation_loss: DistillationLoss = "dkd"
    temperature: float = 4.0
    temperature_spread: float = 1.0
    distillation_weight: float = 0.5
    distillation_weight_spread: float = 0.0
    distillation_schedule: DistillationSchedule = "constant"
    pooled_weight: float = 0.0
    label_smoothing: float = 0.0
    augmentation: str = "crop_flip"
    precision: Precision = "bf16"
    validation_fraction: float = 0.1
    seed: int = 0
    promote: Promote = "if_better"

    def display_name(self) -> str:
        """Return the name the ensemble gets."""
        return self.name or f"{self.student}-{self.members}-members"

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON-ready data; ``recipe_from_dict`` is its inverse."""
        teachers = [asdict(teacher) for teacher in self.teacher]
        if len(teachers) > 1:
            return {**asdict(self), "teacher": teachers}
        return {**asdict(self), "teacher": teachers[0] if teachers else None}

    def of_member(self, index: int) -> "Recipe":
        """Return the recipe with this member's own temperature and distillation weight."""
        # From -1 for the first member to 1 for the last; 0 for one that is alone.
        place = 2 * index / (self.members - 1) - 1 if self.members > 1 else 0.0
        return replace(
            self,
            temperature=self.temperature * self.temperature_spread**place,
            temperature_spread=1.0,
            distillation_weight=self.distillation_weight + self.distillation_weight_spread * place,
            distillation_weight_spread=0.0,
        )

    @property
    def kept_views(self) -> int:
        """Views of each picture that teachers answer once: none where fresh ones are less work."""
        fresh = self.epochs * self.members / max(1, len(self.teacher))
        return self.teacher_views if self.teacher_views <= fresh else 0

    def at_once(self, together: int) -> int:
        """Return how many members take a step at the same time, where a plan holds so many."""
        return self.members if self.is_coupled else min(together, self.members)

    @property
    def ensembles(self) -> list[tuple[str, str]]:
        """The finished ensembles that it builds on: the field that names each, and its id."""
        taught_by = [each for each in self.teacher if isinstance(each, EnsembleTeacher)]
        named = [("teacher.ensemble", teacher.ensemble) for teacher in taught_by]
        if self.initial_ensemble:
            named.append(("initial_ensemble", self.initial_ensemble))
        return named

    @property
    def is_coupled(self) -> bool:
        """Whether members learn together, so that none is trained without the others."""
        return self.pooled_weight > 0

    def teacher_of(self, index: int) -> int | None:
        """Return which teacher a member has; none in a plain deep ensemble."""
        return index % len(self.teacher) if self.teacher else None


PRESETS: dict[str, Recipe] = {
    # The seed work (stateun/MLDL2, Knowledge_Distillation) field by field: no augmentation, a
    # learning-rate step that never fires, a 40,000/10,000 split and a CIFAR ResNet-50 as teacher.
    # Its teacher was fitted on all 50,000 pictures, ours never sees the validation ones.
    "seed": Recipe(
        preset="seed",
        teacher=(TrainedTeacher("resnet50", epochs=60),),
        teacher_views=0,
        optimiser="sgd",
        learning_rate=0.1,
        nesterov=False,
        weight_decay=1e-4,
        schedule="constant",
        label_smoothing=0.1,
        augmentation="none",
        precision="fp32",
        distillation_loss="kl",
        validation_fraction=0.2,
    ),
    "default": Recipe(),
    # Several teachers, so that members differ; many epochs, for "a good teacher is patient and
    # consistent" (Beyer et al. 2022).
    "strong": Recipe(
        preset="strong",
        epochs=200,
        teacher=tuple(TrainedTeacher("resnet18", epochs=100, seed=seed) for seed in range(3)),
    ),
}


def teacher_recipe(recipe: Recipe, teacher: TrainedTeacher) -> Recipe:
    """Return how a teacher is trained: as the members are, alone, and taught by nobody.

    Fields that do not touch the teacher's weights are set back, so that two jobs that differ only
    in those share one teacher.
    """
    return replace(
        recipe,
        preset="default",
        name="",
        student=teacher.student,
        epochs=teacher.epochs,
        members=1,
        teacher=(),
        teacher_views=0,
        distillation_loss="kl",
        temperature=1.0,
        temperature_spread=1.0,
        distillation_weight=0.0,
        distillation_weight_spread=0.0,
        distillation_schedule="constant",
        initial_ensemble="",
        pooled_weight=0.0,
        seed=teacher.seed,
        promote="never",
    )


def digest_of(data: Any) -> str:
    """Return the sha256 of JSON-ready data, the same whatever the order of its keys."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
