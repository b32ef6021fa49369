"""Pictures in any form a caller has them, as the parts that ``POST /predict`` takes."""

import io
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

if TYPE_CHECKING:
    from PIL import Image

Picture: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO | Image.Image"
"""A path, the bytes of a file, an open binary file, or a picture of Pillow's."""

Part = tuple[str, bytes]
"""What an answer or an error calls a picture, and its file."""


def read_pictures(pictures: "Picture | Iterable[Picture]") -> list[Part]:
    """Read one picture or several.

    Raises:
        OSError: a file cannot be read.
    """
    if isinstance(pictures, (str, os.PathLike, bytes)) or not isinstance(pictures, Iterable):
        return [_read(pictures, 0)]
    if isinstance(pictures, io.IOBase) or hasattr(pictures, "read"):  # a file is iterable too
        return [_read(pictures, 0)]  # type: ignore[arg-type]  # has `read`
    return [_read(picture, index) for index, picture in enumerate(pictures)]


def _read(picture: Picture, index: int) -> Part:
    unnamed = f"picture-{index}"
    match picture:
        case bytes() | bytearray() | memoryview():
            return unnamed, bytes(picture)
        case str() | os.PathLike():
            path = Path(picture)
            return _sendable(path.name), path.read_bytes()
    # Whoever has a picture of Pillow's has imported it; nobody else needs to.
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(picture, pillow.Image):
        file = io.BytesIO()
        picture.save(file, "PNG")  # loses nothing
        name = getattr(picture, "filename", "")
        return _sendable(Path(name).name) if name else f"{unnamed}.png", file.getvalue()
    if hasattr(picture, "read"):
        name = getattr(picture, "name", None)
        named = isinstance(name, str) and Path(name).name
        return _sendable(named) if named else unnamed, picture.read()
    raise TypeError(f"no path, bytes, file or Pillow picture: {type(picture).__name__}")


def _sendable(name: str) -> str:
    # A file's name need not be UTF-8, what is sent must be.
    return name.encode("utf-8", "replace").decode()
