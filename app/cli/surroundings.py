"""What ``stillhouse doctor`` finds out about what a service needs around it."""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from redis import Redis, RedisError

from app.cli.machine import Finding
from app.client import ClientError, Refused, Stillhouse, Unreachable
from app.exposure import refuse_exposure
from app.settings import Settings, read_settings
from app.up import is_free
from models.errors import StoreError
from models.files import Files

CLOCK_SECONDS = 2.0
"""By which clocks may differ: leases and the ages of files are compared between machines."""

RELEASED = 1_700_000_000
"""A moment in 2023, in Unix seconds: a clock that is before it was never set."""


def look_at_settings() -> tuple[Settings | None, Finding]:
    """Read the settings as the service would; none where it would not start with them."""
    try:
        settings = read_settings()
        refuse_exposure(settings)
    except SystemExit as refused:
        lines = str(refused).splitlines()
        return None, Finding("settings", "fail", "; ".join(lines), "see docs/operations.md")
    return settings, Finding("settings", "ok", f"for http://{settings.host}:{settings.port}")


def look_at_surroundings(settings: Settings) -> Iterator[Finding]:
    """Yield what there is to know of store, data, Redis and clock."""
    yield store(settings.store)
    yield data(settings.data)
    yield redis(settings)
    yield clock(settings)


def store(where: str) -> Finding:
    """Write, read and delete a file of the store, or look whether it can be made."""
    advice = "set STILLHOUSE_STORE to a folder that this user may write to"
    if "://" not in where and not Path(where).exists():
        above = next(path for path in Path(where).absolute().parents if path.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            return Finding("store", "fail", f"{where} cannot be made in {above}", advice)
        return Finding("store", "ok", f"{where} will be made")
    files, name, said = Files(where), f"doctor-{uuid.uuid4().hex}", b"written by a doctor"
    try:
        files.write(name, said)
        read = files.read(name)
        files.delete(name)
    except (StoreError, OSError) as error:
        return Finding("store", "fail", f"{where}: {error}", advice)
    if read != said:
        return Finding("store", "fail", f"{where} does not give back what is written", advice)
    return Finding("store", "ok", f"{where} can be written and read")


def data(folder: Path) -> Finding:
    """Look which data sets there are."""
    download = "'cifar100' is downloaded when it is first asked for: 169 MB from another host"
    own = "put <name>/train/<class>/<picture> there for own ones: docs/recipes.md"
    if not folder.is_dir():
        return Finding("data", "warn", f"there is no folder {folder}", f"{download}; {own}")
    if not os.access(folder, os.R_OK | os.X_OK):
        return Finding("data", "fail", f"{folder} cannot be read", "give this user the right to")
    names = {
        path.stem for path in folder.iterdir() if path.is_dir() or path.suffix in {".zip", ".gz"}
    }
    found = f"{', '.join(sorted(names)[:8]) or 'none'} in {folder}"
    if not names:
        return Finding("data", "warn", found, f"{download}; {own}")
    return Finding("data", "ok", found + f" and {len(names) - 8} more" * (len(names) > 8))


def redis(settings: Settings) -> Finding:
    """Ask the queue for a sign of life; the embedded one is started with the service."""
    if settings.redis_url is None:
        return Finding("queue", "ok", "embedded, started with the service")
    try:
        with _connect(settings) as client:
            version = client.info("server").get("redis_version")
    except RedisError as error:
        advice = "start it, or unset STILLHOUSE_REDIS_URL for the embedded one"
        return Finding("queue", "fail", f"Redis does not answer: {error}", advice)
    return Finding("queue", "ok", f"Redis {version} answers")


def clock(settings: Settings) -> Finding:
    """Compare this machine's clock with that of Redis, if that is another's."""
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    advice = "set it, or let NTP do so"
    if now < RELEASED:
        return Finding("clock", "fail", f"{shown} is in the past", advice)
    if settings.redis_url is None:
        return Finding("clock", "ok", shown)
    try:
        with _connect(settings) as client:
            seconds, microseconds = client.time()
    except RedisError:
        return Finding("clock", "ok", shown)
    apart = abs(seconds + microseconds / 1e6 - time.time())
    if apart > CLOCK_SECONDS:
        return Finding("clock", "warn", f"{shown}, {apart:.0f} s from that of Redis", advice)
    return Finding("clock", "ok", f"{shown}, as that of Redis")


def _connect(settings: Settings) -> Redis:
    assert settings.redis_url is not None  # noqa: S101  # asked for where there is one
    seconds = 3.0
    url = settings.redis_url.get_secret_value()
    return Redis.from_url(url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=None)


def service(url: str, settings: Settings | None) -> Finding:
    """Ask a service whether it answers and can answer pictures.

    Args:
        url: where it is, or would be.
        settings: of the one to be started here, so that a free port is fine; none for any other.
    """
    with Stillhouse(url, retry_seconds=0) as asked:
        advice = "set STILLHOUSE_PORT to another port, or end what has it"
        if settings is None:
            advice = "start it there, or say where it is"
        try:
            version = asked.version()
        except Unreachable as error:
            if settings is not None and is_free(settings.host, settings.port):
                return Finding("service", "ok", f"{url} is free", "'stillhouse up' starts it there")
            return Finding("service", "fail", str(error), advice)
        except ClientError as error:
            return Finding("service", "fail", f"something else answers: {error}", advice)
        try:
            asked.ready()
        except Refused as error:
            advice = "'stillhouse promote' an ensemble, or distill one"
            return Finding("service", "warn", f"{url} is up, and {error.detail}", advice)
        except ClientError as error:
            return Finding("service", "fail", str(error), "see what the service has logged")
    return Finding("service", "ok", f"{url} is ready, version {version}")
