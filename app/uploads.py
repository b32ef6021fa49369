"""The pictures of a request, from its body to pixels."""

import asyncio
from collections.abc import AsyncGenerator
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.schemas import PART
from models.errors import (
    InvalidPicture,
    PictureTooLarge,
    UnreadablePicture,
    UnsupportedPicture,
)
from models.pictures import ACCEPTED, PictureLimits, decode_picture

_SMALL = PictureLimits(max_bytes=16 * 2**10, max_pixels=64 * 64)
"""Of a picture that is decoded in less than half a millisecond, whatever its file holds."""

MEDIA_TYPES = sorted({*ACCEPTED.values()})


@dataclass(frozen=True)
class Upload:
    """One picture as it was sent.

    Attributes:
        name: how errors and answers call it; none for a raw body.
        data: the file.
    """

    name: str | None
    data: bytes


async def read_uploads(request: Request, max_pictures: int, limits: PictureLimits) -> list[Upload]:
    """Read the pictures of a multipart or raw body.

    Raises:
        UnsupportedPicture: the body is neither multipart nor a picture of a type accepted here.
        UnreadablePicture: the multipart body is malformed, or has other parts, too many or none.
        PictureTooLarge: a picture with too many bytes.
    """
    media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media_type == "multipart/form-data":
        return await _read_parts(request, max_pictures, limits)
    if media_type in MEDIA_TYPES or media_type == "image/*":
        return [Upload(None, await _read_raw(request, limits))]
    sent = f"not {media_type}" if media_type else "and name it in Content-Type"
    accepted = ", ".join(MEDIA_TYPES)
    raise UnsupportedPicture(f"send multipart/form-data or one of {accepted}, {sent}")


async def _read_raw(request: Request, limits: PictureLimits) -> bytes:
    # Not the framework's own: it would hold a body as large as that of many pictures.
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limits.max_bytes:
            raise PictureTooLarge(f"{_where(0, None)}: more than {limits.max_bytes} bytes")
    return bytes(data)


class _WholeForm(MultiPartParser):
    # The framework takes a body that is cut short, without the part that is not whole.
    ended = False

    def on_end(self) -> None:
        self.ended = True


async def _read_parts(request: Request, max_pictures: int, limits: PictureLimits) -> list[Upload]:
    async def body() -> AsyncGenerator[bytes, None]:
        async for chunk in request.stream():
            yield chunk
        if not parser.ended:
            raise MultiPartException("it ends before its last boundary")

    parser = _WholeForm(request.headers, body(), max_files=max_pictures, max_fields=1)
    try:
        form = await parser.parse()
    except MultiPartException as error:  # the framework's own words name the limit
        raise UnreadablePicture(f"the multipart body is refused: {error.message}") from error
    except UnicodeError as error:
        raise UnreadablePicture("a part's name is not in the charset it claims") from error
    try:
        uploads: list[Upload] = []
        for name, part in form.multi_items():
            if name != PART or not isinstance(part, UploadFile):
                reason = f"the part {name!r} is not expected"
                raise UnreadablePicture(f"{reason}; send files, each in a part named {PART!r}")
            if part.size is not None and part.size > limits.max_bytes:
                where = _where(len(uploads), part.filename)
                raise PictureTooLarge(f"{where}: more than {limits.max_bytes} bytes")
            uploads.append(Upload(_encodable(part.filename), await part.read()))
    finally:
        await form.close()
    if not uploads:
        raise UnreadablePicture(f"there is no picture; send each in a part named {PART!r}")
    return uploads


async def decode_soon(
    uploads: list[Upload], size: int, limits: PictureLimits, threads: Executor
) -> list[npt.NDArray[np.uint8]]:
    """Decode pictures off the event loop, but for one that is decoded sooner than handed over.

    Waking a thread and being woken by it takes several times as long as decoding 32x32 pixels.

    Raises:
        InvalidPicture: as ``decode_uploads``.
    """
    if len(uploads) == 1 and len(uploads[0].data) <= _SMALL.max_bytes:
        with suppress(PictureTooLarge):  # for this; what else is wrong is wrong anyway
            return decode_uploads(uploads, size, _SMALL)
    return await asyncio.get_running_loop().run_in_executor(
        threads, decode_uploads, uploads, size, limits
    )


def decode_uploads(
    uploads: list[Upload], size: int, limits: PictureLimits
) -> list[npt.NDArray[np.uint8]]:
    """Decode pictures to uint8 [size, size, 3].

    Raises:
        InvalidPicture: of the kind that ``decode_picture`` raised, naming the part.
    """
    pictures = []
    for index, upload in enumerate(uploads):
        try:
            pictures.append(decode_picture(upload.data, size, limits))
        except InvalidPicture as error:
            raise type(error)(f"{_where(index, upload.name)}: {error}") from error
    return pictures


def _encodable(name: str | None) -> str | None:
    # Some charsets decode to half a surrogate pair, which no JSON can carry.
    return name.encode("utf-8", "replace").decode() if name else None


def _where(index: int, name: str | None) -> str:
    return f"picture {index}" + (f" ({name})" if name else "")
