"""Settings of the service, read once from the environment. Hyper-parameters are never settings."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

import models
from app.degrade import Degrade
from models.pictures import PictureLimits

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?")


class Settings(BaseSettings):
    """What differs between machines; every field is ``STILLHOUSE_<NAME>`` in the environment."""

    # What was set is never told in an error: it may be a key or a password.
    model_config = SettingsConfigDict(
        env_prefix="STILLHOUSE_", frozen=True, hide_input_in_errors=True
    )

    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="port the API listens on")
    store: str = Field("store", description="folder or fsspec URL of checkpoints and ensembles")
    data: Path = Field(Path("data"), description="folder of data sets")
    release: Path = Field(
        Path(models.__file__).parent / "release",
        description="folder of ensembles that ship; one answers until one is chosen",
    )
    redis_url: SecretStr | None = Field(
        None, description="Redis or Valkey; unset: `make run` starts an embedded Valkey"
    )
    api_keys: SecretStr | None = Field(
        None, description="`name:scope+scope:key`, several with spaces or commas between them"
    )
    api_keys_file: Path | None = Field(None, description="file with more of them")
    published_at: str | None = Field(
        None, description="address a container's port is published at; unset: `host`"
    )
    open_to_all: bool = Field(
        False, description="`on`: other machines may reach the API without a key"
    )
    max_key_requests_per_second: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="requests with one key; then 429; unset: no limit",
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="origins whose pages may call; unset: none but our own"
    )
    max_picture_bytes: int = Field(10 * 2**20, ge=1, description="largest picture, in bytes")
    max_picture_pixels: int = Field(
        50_000_000, ge=1, description="largest picture, in pixels, checked before decoding"
    )
    max_pictures_per_request: int = Field(256, ge=1, description="pictures in one POST /predict")
    max_request_bytes: int = Field(64 * 2**20, ge=1, description="largest body of a POST /predict")
    max_recipe_bytes: int = Field(64 * 2**10, ge=1, description="largest body of any other call")
    max_ensemble_bytes: int = Field(
        2**30, ge=1, description="largest body of a POST /ensembles, and what it unpacks to"
    )
    max_dataset_bytes: int = Field(
        2**30, ge=1, description="largest body of a PUT /datasets, and what it unpacks to"
    )
    max_receive_seconds: float = Field(
        60.0, gt=0, description="time for a request to come whole, head and body; then 408"
    )
    max_connections: int = Field(
        2048, ge=1, description="open connections; a new one more is told 503 and closed"
    )
    max_followers: int = Field(
        100, ge=1, description="clients of GET /jobs/<id>/events at once; then 429"
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

    @field_validator("redis_url")
    @classmethod
    def _check_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        # Libraries would refuse it too, some of them by quoting a part of the password.
        if url is not None and not _is_redis_url(url.get_secret_value()):
            raise ValueError("write redis://host:port/0, special characters of a password as %xx")
        return url

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split_origins(cls, written: object) -> object:
        return tuple(re.split(r"[\s,]+", written.strip())) if isinstance(written, str) else written

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_ORIGIN.fullmatch(origin) for origin in origins):
            raise ValueError("an origin is https://host or https://host:port, in small letters")
        return origins

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


def _is_redis_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    return parts.scheme in {"redis", "rediss"} and bool(parts.hostname)


@cache
def read_settings() -> Settings:
    """Return the settings of this process.

    Raises:
        SystemExit: with a line for each that is out of bounds.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = [
            f"STILLHOUSE_{str(fault['loc'][0]).upper()}: "
            f"{fault['msg'].removeprefix('Value error, ')}"
            for fault in error.errors(include_input=False, include_context=False)
        ]
        raise SystemExit("\n".join(faults)) from None
