"""What recipes there are to start from, and what comes of one."""

from typing import Any

from pydantic import BaseModel, Field


class Preset(BaseModel):
    """A recipe to start from."""

    name: str
    recipe: dict[str, Any] = Field(description="every field, resolved")


class PresetList(BaseModel):
    """All presets; the first is what a recipe starts from that names none."""

    presets: list[Preset]
