"""Nobody listens to a network without keys by accident."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.exposure import is_loopback, refuse_exposure
from app.settings import Settings

KEY = "one.one.one.one.one.one"
EVERYWHERE = "0.0.0.0"  # noqa: S104  # nothing listens


def settings(**fields: Any) -> Settings:
    return Settings.model_validate(fields)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.0.0.2", "::1", "localhost", "127.0.0.1:8000", "[::1]:8000", "localhost:80"],
)
def test_loopback_is_this_machine_alone(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize(
    "address",
    ["", EVERYWHERE, "::", "8000", f"{EVERYWHERE}:8000", "[::]:8000", "10.0.0.1", "127.0.0.1.x"],
)
def test_everything_else_is_not(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"host": EVERYWHERE, "api_keys": f"web:predict:{KEY}"},
        {"host": EVERYWHERE, "open_to_all": True},
        {"host": EVERYWHERE, "published_at": "127.0.0.1:8000"},
    ],
    ids=["loopback", "keys", "open by name", "published on loopback"],
)
def test_a_service_starts(fields: dict[str, Any]) -> None:
    refuse_exposure(settings(**fields))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"host": EVERYWHERE}, "0.0.0.0 is reached from other machines: set STILLHOUSE_API_KEYS"),
        ({"host": EVERYWHERE, "published_at": "8000"}, "8000 is reached from other machines"),
        ({"published_at": "8000"}, "8000 is reached from other machines"),
        ({"host": EVERYWHERE, "api_keys": f"web:predict:{KEY}:"}, "entry 1: write name:scope:key"),
        ({"api_keys": ""}, "STILLHOUSE_API_KEYS holds no key"),
        ({"max_key_requests_per_second": 1}, "there is none: set STILLHOUSE_API_KEYS"),
    ],
)
def test_a_service_does_not_start(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(SystemExit) as refused:
        refuse_exposure(settings(**fields))
    assert reason in str(refused.value)
    assert KEY not in str(refused.value)


def test_containers_ask_for_keys_by_where_their_port_is_published() -> None:
    text = (Path(__file__).parent.parent / "docker-compose.yml").read_text()
    (published,) = re.findall(r"^      - (\$\{.+\}):8000$", text, flags=re.MULTILINE)
    (told,) = re.findall(r"^      STILLHOUSE_PUBLISHED_AT: (.+)$", text, flags=re.MULTILINE)
    assert told == published == "${STILLHOUSE_PUBLISH:-127.0.0.1:8000}"


@pytest.mark.parametrize("module", ["app", "app.up"])
def test_it_says_in_one_line_what_to_set(module: str) -> None:
    ours = {"STILLHOUSE_HOST": EVERYWHERE, "STILLHOUSE_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0"}
    done = subprocess.run(
        [sys.executable, "-m", module],
        env={name: value for name, value in os.environ.items() if "STILLHOUSE" not in name} | ours,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "0.0.0.0 is reached from other machines: set STILLHOUSE_API_KEYS to name:scope:key "
        "(docs/operations.md), or STILLHOUSE_OPEN_TO_ALL=on to let everybody in"
    ]
