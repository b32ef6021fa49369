"""How the service itself is."""

from typing import Literal

from pydantic import BaseModel


class Health(BaseModel):
    """A word on how the service is."""

    status: Literal["alive", "ready"]
