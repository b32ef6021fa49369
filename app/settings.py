"""Settings of the service, read once from the environment. Hyper-parameters are never settings."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.degrade import Degrade
from models.pictures import PictureLimits


class Settings(BaseSettings):
    """What differs between machines; every field is ``STILLHOUSE_<NAME>`` in the environment."""

    model_config = SettingsConfigDict(env_prefix="STILLHOUSE_", frozen=True)

    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="port the API listens on")
    store: str = Field("store", description="folder or fsspec URL of checkpoints and ensembles")
    data: Path = Field(Path("data"), description="folder of data sets")
    redis_url: str | None = Field(
        None, description="Redis or Valkey; unset: `make run` starts an embedded Valkey"
    )
    max_picture_bytes: int = Field(10 * 2**20, ge=1, description="largest picture, in bytes")
    max_picture_pixels: int = Field(
        50_000_000, ge=1, description="largest picture, in pixels, checked before decoding"
    )
    max_pictures_per_request: int = Field(256, ge=1, description="pictures in one POST /predict")
    max_request_bytes: int = Field(64 * 2**20, ge=1, description="largest body of a POST /predict")
    max_recipe_bytes: int = Field(64 * 2**10, ge=1, description="largest body of any other call")
    max_receive_seconds: float = Field(
        60.0, gt=0, description="time for a request to come whole, head and body; then 408"
    )
    max_waiting_pictures: int = Field(
        1024, ge=1, description="pictures that wait for the engine; then 429"
    )
    engine_threads: int | None = Field(
        None, ge=1, description="cores that answer pictures; unset: all, at most 16"
    )
    predict_mode: Literal["default", "exact", "fast", "cascade"] = Field(
        "default", description="mode of a POST /predict that names none"
    )
    degrade: bool = Field(
        False, description="`on`: with a long queue fewer members answer, before any 429"
    )
    degrade_delay_seconds: float = Field(
        0.25, gt=0, description="wait from which on fewer members answer, if `degrade` is on"
    )
    degrade_least_members: int = Field(
        3, ge=1, description="members that answer however long the queue is, if there are as many"
    )
    max_unfinished_jobs: int = Field(100, ge=1, description="jobs queued or running; then 429")
    lease_seconds: float = Field(
        30.0, gt=0, description="a worker not heard of for so long has lost its work to others"
    )
    sweep_seconds: float = Field(
        5.0, gt=0, description="how often the API looks for work that no worker has"
    )
    memory_limit_bytes: int | None = Field(
        None, ge=1, description="memory that training may use; unset: all that the machine has"
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="`json`: a JSON object each line, for machines"
    )
    follow_seconds: float = Field(
        1.0, gt=0, description="how often the API looks for a newly promoted ensemble"
    )

    @property
    def picture_limits(self) -> PictureLimits:
        """The limits in the form the decoder takes."""
        return PictureLimits(self.max_picture_bytes, self.max_picture_pixels)

    @property
    def degrade_policy(self) -> Degrade | None:
        """When members are left out; none for never."""
        if not self.degrade:
            return None
        return Degrade(self.degrade_delay_seconds, self.degrade_least_members)


@cache
def read_settings() -> Settings:
    """Return the settings of this process."""
    return Settings()
