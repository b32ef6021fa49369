"""How the service itself is."""

from typing import Literal

from pydantic import BaseModel, Field


class Version(BaseModel):
    """What runs here."""

    version: str
    torch: str
    openvino: str | None = Field(description="null where it is not installed: PyTorch answers then")
    device: str = Field(description="what this machine would train on: `cpu` or `cuda`")


class Health(BaseModel):
    """A word on how the service is."""

    status: Literal["alive", "ready"]
