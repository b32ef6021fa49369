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


def gif(width: int, height: int, *extensions: bytes, frame: tuple[int, int] = (1, 1)) -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0)
    return screen + b"".join(extensions) + struct.pack("<B4HBB", 0x2C, 0, 0, *frame, 0, 2)


BOMBS = {
    "png": png_header(100_000, 100_000) + chunk(b"IDAT", zlib.compress(b"")),
    "jpeg": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03\x01\x11\0\x02\x11\0\x03\x11\0"
    b"\xff\xda\0\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0",
    "webp": b"RIFF\x1e\0\0\0WEBPVP8X\x0a\0\0\0" + bytes(4) + b"\x0f\x27\0" * 2 + bytes(12),
    "webp lossless": b"RIFF\x1e\0\0\0WEBPVP8L\x0a\0\0\0\x2f"
    + struct.pack("<I", 9_999 << 14 | 9_999)
    + bytes(12),
    "webp lossy": b"RIFF\x1e\0\0\0WEBPVP8 \x0a\0\0\0\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f"
    + bytes(9),
    "gif screen": gif(65_535, 65_535),
    "gif frame": gif(1, 1, frame=(60_000, 60_000)),
    "gif disposal": gif(1, 1, b"\x21\xf9\4\x08\0\0\0\0", frame=(13_000, 13_000)),
    "bmp": b"BM" + bytes(8) + struct.pack("<IIiiHHI", 54, 40, 90_000, 90_000, 1, 24, 0) + bytes(20),
}
