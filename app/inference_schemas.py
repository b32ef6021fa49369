"""The JSON that the Open Inference Protocol, version 2, sends and is sent.

Sources: as of ``app/inference_protocol.py``. Lists end at their first fault, since a body of small
faults would otherwise become a large list of errors.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, RootModel

MOST_TIMEOUT_MICROSECONDS = 600_000_000

_Length = Annotated[int, Field(ge=0, le=2**63 - 1)]
_Value = Annotated[int, Field(ge=0, le=255)]
_Pixel = Annotated[list[_Value], Field(min_length=3, max_length=3), FailFast()]
_Row = Annotated[list[_Pixel], Field(min_length=1), FailFast()]
_Picture = Annotated[list[_Row], Field(min_length=1), FailFast()]


class Sent(BaseModel):
    """Part of a request. What a server need not know may be in it too, and is passed over."""

    model_config = ConfigDict(strict=True)


class FlatData(RootModel[Annotated[list[_Value], FailFast()]]):
    """The numbers of all pictures in one list, in row-major order."""

    model_config = ConfigDict(strict=True)


class NestedData(RootModel[Annotated[list[_Picture], FailFast()]]):
    """The numbers of each pixel in a list, of each row in a list of those, and so on."""

    model_config = ConfigDict(strict=True)


class InputParameters(Sent):
    """How an input is sent: as binary data after the JSON, if its size is told here."""

    binary_data_size: _Length | None = None
    shared_memory_region: None = None


class InputTensor(Sent):
    """The pictures."""

    name: Literal["images"]
    datatype: Literal["UINT8"]
    shape: Annotated[list[_Length], Field(max_length=8), FailFast()]
    parameters: InputParameters | None = None
    data: FlatData | NestedData | None = Field(None, union_mode="left_to_right")


class OutputParameters(Sent):
    """How an output is to be sent."""

    binary_data: bool | None = None
    classification: None = None
    shared_memory_region: None = None


class RequestedOutput(Sent):
    """One output to be sent."""

    name: Literal["probabilities", "entropy", "members_used"]
    parameters: OutputParameters | None = None


class RequestParameters(Sent):
    """How to infer, and how to send all outputs that do not say otherwise."""

    binary_data_output: bool | None = None
    mode: Literal["default", "exact", "fast", "cascade"] | None = None
    timeout: Annotated[int, Field(ge=0, le=MOST_TIMEOUT_MICROSECONDS)] | None = None


class InferenceRequest(Sent):
    """The JSON of an inference request."""

    id: str | None = None
    parameters: RequestParameters | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1), FailFast()]
    outputs: Annotated[list[RequestedOutput] | None, Field(max_length=3), FailFast()] = None


class Live(BaseModel):
    """Whether the server answers at all."""

    live: bool


class Ready(BaseModel):
    """Whether the server can infer now."""

    ready: bool


class ModelReady(Ready):
    """Whether a model can infer now."""

    name: str


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """What a tensor looks like."""

    name: str
    datatype: str
    shape: list[int] = Field(description="-1 where any size will do")


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class OutputTensor(TensorMetadata):
    """One output; its data follows the JSON where its parameters have a `binary_data_size`."""

    data: list[float] | None = None
    parameters: dict[str, int] | None = None


class InferenceAnswer(BaseModel):
    """What a model found."""

    id: str | None = None
    model_name: str
    model_version: str
    parameters: dict[str, str | int] = Field(description="ensemble, members, engine and mode")
    outputs: list[OutputTensor]


class InferenceError(BaseModel):
    """What went wrong."""

    error: str
