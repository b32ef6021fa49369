"""Settings of the service, read once from the environment. Hyper-parameters are never settings."""

from functools import cache
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

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
    follow_seconds: float = Field(
        1.0, gt=0, description="how often the API looks for a newly promoted ensemble"
    )

    @property
    def picture_limits(self) -> PictureLimits:
        """The limits in the form the decoder takes."""
        return PictureLimits(self.max_picture_bytes, self.max_picture_pixels)


@cache
def read_settings() -> Settings:
    """Return the settings of this process."""
    return Settings()
