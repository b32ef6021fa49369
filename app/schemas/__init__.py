"""What the service answers; what it is asked for recipes is in ``app/recipe_request.py``."""

from app.schemas.ensembles import (
    Engines,
    EnsembleDetail,
    EnsembleList,
    EnsembleSummary,
    ServingChange,
    ServingRequest,
)
from app.schemas.jobs import (
    Epoch,
    Job,
    JobError,
    JobPage,
    JobPromotion,
    JobStatus,
    NetworkProgress,
    PartStatus,
    StateChange,
)
from app.schemas.predictions import (
    PART,
    TIMEOUT_HEADER,
    TIMEOUT_MS,
    Classes,
    Mode,
    Prediction,
    Predictions,
    PredictQuery,
    TopClass,
    Uncertainty,
)
from app.schemas.problems import (
    FieldError,
    Problem,
)
from app.schemas.recipes import JobPlan, PictureCounts, Preset, PresetList
from app.schemas.service import (
    Health,
)

__all__ = [
    "PART",
    "TIMEOUT_HEADER",
    "TIMEOUT_MS",
    "Classes",
    "Engines",
    "EnsembleDetail",
    "EnsembleList",
    "EnsembleSummary",
    "Epoch",
    "FieldError",
    "Health",
    "Job",
    "JobError",
    "JobPage",
    "JobPlan",
    "JobPromotion",
    "JobStatus",
    "Mode",
    "NetworkProgress",
    "PartStatus",
    "PictureCounts",
    "PredictQuery",
    "Prediction",
    "Predictions",
    "Preset",
    "PresetList",
    "Problem",
    "ServingChange",
    "ServingRequest",
    "StateChange",
    "TopClass",
    "Uncertainty",
]
