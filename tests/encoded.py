"""Pictures as files, and pieces of files, to be decoded by the tests of pictures."""

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import skimage.data
from PIL import Image

Pixels = npt.NDArray[np.uint8]
PNG = b"\x89PNG\r\n\x1a\n"
ROCKET = Image.fromarray(skimage.data.rocket())  # type: ignore[no-untyped-call]
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    return PNG + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def after_png_header(picture: bytes, inserted: bytes) -> bytes:
    return picture[:33] + inserted + picture[33:]


def noise(size: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def corners() -> Image.Image:
    """A red, green, blue and white quarter each, from top left to bottom right."""
    quarters = np.array([[RED, GREEN], [BLUE, WHITE]], dtype=np.uint8)
    return Image.fromarray(quarters).resize((64, 64), Image.Resampling.NEAREST)


def close(pixels: Pixels, expected: object, tolerance: float = 3) -> bool:
    difference = np.abs(pixels.astype(float) - np.asarray(expected, dtype=float))
    return bool(difference.max() <= tolerance)
