"""Settings come from the environment and are checked before anything starts."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from app.settings import Settings, read_settings
from models.pictures import PictureLimits
from models.store import RELEASE_FOLDER

OTHERS = {
    "host": "0.0.0.0",  # noqa: S104  # nothing listens
    "port": 8123,
    "store": "s3://bucket/stillhouse",
    "data": Path("/srv/data"),
    "release": Path("/srv/release"),
    "redis_url": SecretStr("redis://:password@example:6379/1"),
    "api_keys": SecretStr("somebody:predict:key"),
    "api_keys_file": Path("/run/secrets/keys"),
    "published_at": "127.0.0.1:8123",
    "open_to_all": True,
    "max_key_requests_per_second": 0.5,
    "cors_origins": ("https://a.example", "http://localhost:3000"),
    "max_picture_bytes": 1,
    "max_picture_pixels": 2,
    "max_pictures_per_request": 3,
    "max_request_bytes": 4,
    "max_recipe_bytes": 5,
    "max_ensemble_bytes": 6,
    "max_dataset_bytes": 7,
    "max_receive_seconds": 2.5,
    "max_connections": 7,
    "max_followers": 8,
    "max_waiting_pictures": 5,
    "engine_threads": 3,
    "predict_mode": "cascade",
    "degrade": True,
    "degrade_delay_seconds": 0.5,
    "degrade_least_members": 2,
    "max_unfinished_jobs": 6,
    "lease_seconds": 7.5,
    "sweep_seconds": 8.5,
    "memory_limit_bytes": 10,
    "follow_seconds": 9.5,
    "log_format": "json",
}
"""A value other than the default for each setting."""


def written(value: object) -> str:
    """Return how a value is written in the environment."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return ", ".join(value) if isinstance(value, tuple) else str(value)


@pytest.fixture(autouse=True)
def no_settings_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"STILLHOUSE_{name.upper()}", raising=False)


def test_every_setting_is_tried_here() -> None:
    assert set(OTHERS) == set(Settings.model_fields)


@pytest.mark.parametrize("name", OTHERS)
def test_a_setting_is_read_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert getattr(Settings(), name) != OTHERS[name]
    monkeypatch.setenv(f"STILLHOUSE_{name.upper()}", written(OTHERS[name]))
    assert getattr(Settings(), name) == OTHERS[name]


def test_the_defaults_suit_one_machine() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.redis_url is None
    assert settings.release == RELEASE_FOLDER
    assert settings.picture_limits == PictureLimits(10 * 2**20, 50_000_000)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "0"),
        ("port", "65536"),
        ("port", "http"),
        *[(name, "0") for name, value in OTHERS.items() if name.startswith("max_") and value],
        ("memory_limit_bytes", "0"),
        ("lease_seconds", "0"),
        ("sweep_seconds", "-1"),
        ("follow_seconds", "soon"),
        ("redis_url", "example:6379"),
        ("redis_url", "redis://:pass/word@example:6379/0"),
        ("redis_url", "redis://"),
        ("cors_origins", ""),
        ("cors_origins", "*"),
        ("cors_origins", "https://a.example/"),
        ("cors_origins", "https://a.example b.example"),
        ("max_key_requests_per_second", "nan"),
        ("max_key_requests_per_second", "inf"),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"STILLHOUSE_{name.upper()}", value)
    with pytest.raises(ValidationError, match=name):
        Settings()


def test_what_was_written_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_REDIS_URL", "redis://:hunter2/x@example:6379/0")
    monkeypatch.setenv("STILLHOUSE_PORT", "0")
    read_settings.cache_clear()
    with pytest.raises(SystemExit) as refused:
        read_settings()
    assert str(refused.value).splitlines() == [
        "STILLHOUSE_PORT: Input should be greater than or equal to 1",
        "STILLHOUSE_REDIS_URL: write redis://host:port/0, special characters of a password as %xx",
    ]


def test_an_error_does_not_tell_it_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_REDIS_URL", "redis://:hunter2/x@example:6379/0")
    monkeypatch.setenv("STILLHOUSE_PORT", "hunter3")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "hunter" not in str(refused.value)


def test_secrets_are_not_shown_with_the_settings() -> None:
    settings = Settings(
        redis_url=SecretStr("redis://:hunter2@here/0"), api_keys=SecretStr("hunter3")
    )
    assert "hunter" not in f"{settings} {settings!r} {settings.model_dump_json()}"


def test_settings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read_settings.cache_clear()
    try:
        before = read_settings()
        monkeypatch.setenv("STILLHOUSE_PORT", "8123")
        assert read_settings() is before
    finally:
        read_settings.cache_clear()


def test_a_worker_without_redis_says_what_to_do(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app.worker"],
        env={"PYTHONPATH": str(Path(__file__).parent.parent), "PATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "STILLHOUSE_REDIS_URL is not set; `make run` starts an embedded Valkey"
    )
