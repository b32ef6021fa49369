"""What is told of ensembles, and what makes one serve."""

from typing import Any

from pydantic import BaseModel, Field

from app.recipe_request import EnsembleId, Strict


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
    val_nll: float | None = Field(None, description="calibrated, on validation pictures")
    val_ece: float | None = Field(None, description="the same, in 15 bins")
    test_accuracy: float | None
    seconds: float | None = Field(
        None, description="for 32 pictures on this machine; null if it was never loaded here"
    )
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
