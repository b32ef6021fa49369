"""How pictures are asked about, and the answers."""

from typing import Literal

from pydantic import BaseModel, Field

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
    votes: bool = Field(False, description="add what each member asked finds likeliest")
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
    votes: list[TopClass] | None = Field(
        None,
        description="each member's likeliest class with its own probability, in the members' order",
    )


class Predictions(BaseModel):
    """The answers to all pictures of a request, in the order of its parts."""

    ensemble: str
    members: int
    engine: str = Field(description="backend and precision that computed the answers")
    mode: str
    predictions: list[Prediction]


class Classes(BaseModel):
    """Class names of the serving ensemble in id order."""

    ensemble: str
    classes: list[str]
