"""What both clients do alike: where the service is, what is sent, and what a lost connection is."""

import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from app.client.errors import BadAnswer, Unreachable, refusal_of
from app.client.requests import Request
from app.schemas import PART

DEFAULT_URL = "http://127.0.0.1:8000"
CONNECT_SECONDS = 5.0
RETRY_SECONDS = 30.0
"""How long a call that cannot be answered is repeated, unless told."""


def url_of(url: str | None) -> str:
    """Return the address given, or ``STILLHOUSE_URL``, or that of `make run`."""
    return url or os.environ.get("STILLHOUSE_URL") or DEFAULT_URL


def headers_of(key: str | None) -> dict[str, str]:
    """Return the headers of every call, with the key given or ``STILLHOUSE_API_KEY``, if any.

    Args:
        key: an empty one is none, whatever the environment says.
    """
    key = os.environ.get("STILLHOUSE_API_KEY") if key is None else key
    return {"User-Agent": "stillhouse-client"} | ({"Authorization": f"Bearer {key}"} if key else {})


def timeout_of(silence_seconds: float) -> httpx.Timeout:
    """Return httpx's limits; a call may wait for a free connection as long as it takes."""
    return httpx.Timeout(silence_seconds, connect=CONNECT_SECONDS, pool=None)


def arguments_of(request: Request[Any], headers: dict[str, str]) -> dict[str, Any]:
    """Return a request as httpx takes it, but for the file to upload."""
    arguments: dict[str, Any] = {
        "method": request.method,
        "url": request.path,
        "params": {name: value for name, value in request.query.items() if value is not None},
        "headers": {**headers, **request.headers},
        "timeout": timeout_of(request.silence_seconds),
    }
    if request.json is not None:
        arguments["json"] = request.json
    if request.parts is not None:
        arguments["files"] = [(PART, part) for part in request.parts]
    return arguments


@contextmanager
def file_to_send(path: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Give a file and the headers of a body that it is; a folder is packed into a zip meanwhile.

    Raises:
        OSError: it cannot be read, or there is no space for the zip.
    """
    with tempfile.TemporaryDirectory(prefix="stillhouse-") as place:
        if path.is_dir():
            path = _packed(path, Path(place) / "folder.zip")
        size = path.stat().st_size
        yield path, {"Content-Type": "application/zip", "Content-Length": str(size)}


def _packed(folder: Path, into: Path) -> Path:
    # Pictures are compressed already.
    with zipfile.ZipFile(into, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(folder))
    return into


@contextmanager
def file_to_write(path: Path) -> Iterator[Path]:
    """Give a file beside another, which takes its place once it is whole."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def known_errors(url: str | httpx.URL) -> Iterator[None]:
    """Raise what is wrong with a connection as what the clients promise to raise.

    Raises:
        Unreachable: no answer came.
        BadAnswer: what came is no HTTP, or of no service that there could be.
    """
    try:
        yield
    except httpx.UnsupportedProtocol as error:
        raise BadAnswer(f"{url} is no address: it begins with http:// or https://") from error
    except httpx.ConnectError as error:
        raise Unreachable(f"nothing answers at {url} ({error}); is it running?") from error
    except httpx.TimeoutException as error:
        raise Unreachable(f"{url} is silent for too long ({type(error).__name__})") from error
    except httpx.TransportError as error:
        raise Unreachable(f"the connection to {url} was lost ({error})") from error
    except (httpx.DecodingError, httpx.InvalidURL) as error:
        raise BadAnswer(f"{url}: {error}") from error


def check(response: httpx.Response) -> None:
    """Let a good answer pass; the body of any other has been read.

    Raises:
        Refused: with the problem that it tells.
        BadAnswer: it leads elsewhere, which no call of the contract does.
    """
    if response.is_error:
        raise refusal_of(response)
    if not response.is_success:
        to = response.headers.get("location", "nowhere")
        raise BadAnswer(f"{response.url} answers {response.status_code}, which leads to {to}")
