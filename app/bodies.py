"""Bodies too large for memory: received into a file, and only a few at once."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from fastapi import Request
from starlette.exceptions import HTTPException

from models.errors import StoreError, StoreFull, TooBusy
from models.files import is_full

ZIP_TYPES = ("application/zip", "application/x-zip-compressed")
"""Media types of a zip archive, the second as some browsers call it."""

MOST_AT_ONCE = 2
"""Each may take as much of the disk as the largest body that is accepted."""

_PIECE_BYTES = 2**20

ZIP_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {ZIP_TYPES[0]: {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""What OpenAPI says of a route that takes one."""


@asynccontextmanager
async def received_zip(
    request: Request, slots: asyncio.Semaphore, folder: Path | None = None
) -> AsyncIterator[BinaryIO]:
    """Give a file with the body of a request; it is gone at the end, unless somebody links to it.

    Args:
        request: whose body has not been read.
        slots: how many may be received at once.
        folder: where the file is; none for the system's own.

    Raises:
        HTTPException: 415, the body claims to be something else; 413, as soon as it is too large.
        TooBusy: others are being received.
        StoreFull: no space left.
        StoreError: the folder cannot be written.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type not in ZIP_TYPES:
        raise HTTPException(415, f"send {ZIP_TYPES[0]}, not {media_type or 'what nobody names'}")
    if slots.locked():
        raise TooBusy("other archives are being received", retry_after_seconds=10)
    async with slots:
        with _new_file(folder) as file:
            await _receive(request, file)
            yield file


def _new_file(folder: Path | None) -> BinaryIO:
    try:
        file = tempfile.NamedTemporaryFile(dir=folder, prefix=".received-", suffix=".part")  # noqa: SIM115  # whoever asked closes it
    except OSError as error:
        raise _told(error, str(folder or tempfile.gettempdir())) from error
    return cast("BinaryIO", file)


async def _receive(request: Request, file: BinaryIO) -> None:
    piece = bytearray()
    async for chunk in request.stream():
        piece += chunk
        if len(piece) >= _PIECE_BYTES:
            await asyncio.to_thread(_write, file, bytes(piece))
            piece.clear()
    await asyncio.to_thread(_write, file, bytes(piece))


def _write(file: BinaryIO, piece: bytes) -> None:
    try:
        file.write(piece)
        file.flush()
    except OSError as error:
        raise _told(error, file.name) from error


def _told(error: OSError, where: str) -> StoreError:
    if is_full(error):
        return StoreFull(f"{where}: no space left for what is received")
    return StoreError(f"{where}: cannot be written: {error.strerror}")
