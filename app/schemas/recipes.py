"""What recipes there are to start from, and what comes of one."""

from typing import Any

from pydantic import BaseModel, Field


class Preset(BaseModel):
    """A recipe to start from."""

    name: str
    recipe: dict[str, Any] = Field(description="every field, resolved")


class PictureCounts(BaseModel):
    """How many pictures a job would train on and validate on."""

    train: int
    validation: int


class JobPlan(BaseModel):
    """What a job would take."""

    recipe: dict[str, Any] = Field(description="every field, resolved")
    plan: dict[str, Any] | None = Field(
        None,
        description="as in a job, for the machine that answers; null where the data is not seen",
    )
    pictures: PictureCounts | None = None
    estimate_seconds: float | None = Field(
        None, description="of training by one worker; null where nothing was ever measured"
    )
    estimate_from: str | None = Field(None, description="what was measured, and how it was scaled")


class PresetList(BaseModel):
    """All presets; the first is what a recipe starts from that names none."""

    presets: list[Preset]
