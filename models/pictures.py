"""Bytes from anybody, turned into the pixels a network takes.

Uploads may be hostile, so Pillow sees as little of them as possible. The first bytes choose the
one decoder that may run. Everything no pixel depends on is cut away before it looks: text and
profiles that inflate a thousandfold, thumbnails, later frames, and EXIF, whose parser in Pillow
warns about garbage. Sizes are checked in the header. What Pillow shares between threads
(``Image.MAX_IMAGE_PIXELS``, ``ImageFile.LOAD_TRUNCATED_IMAGES``, warning filters) is left alone.
"""

import struct
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from models.errors import PictureTooLarge, UnreadablePicture, UnsupportedPicture
from models.picture_formats import (
    gif_first_frame,
    jpeg_pixels,
    orientation,
    png_pixels,
    webp_canvas,
)

ACCEPTED: dict[str, str] = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # a JPEG with a second one behind it, written by some phones
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
}
"""Pillow's name of each format that is read here, and its media type."""

# The first bytes of what people upload most by mistake; HEIC and AVIF have theirs at byte 4.
_REFUSED = {
    **dict.fromkeys((b"II*\0", b"MM\0*"), "TIFF"),
    **dict.fromkeys((b"<svg", b"<?xml"), "SVG"),
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
}

# What Pillow raises when bytes are not what it expects: struct.error for chunks cut short,
# AssertionError for a palette that is not there, MemoryError for a size that is nonsense.
_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, ArithmeticError),
    *(AttributeError, AssertionError, MemoryError, struct.error),
)

# EXIF orientation -> how to turn the picture upright (TIFF 6.0, tag 274).
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class PictureLimits:
    """How much of a picture is worth reading.

    Attributes:
        max_bytes: the longest file, in bytes.
        max_pixels: the largest width times height in a header. Measured memory per
            pixel: WebP 16 bytes, transparent PNG 9, progressive JPEG 6, PNG 4, plain JPEG 0.1.
    """

    max_bytes: int = 10 * 2**20
    max_pixels: int = 50_000_000


def decode_picture(
    data: bytes, size: int, limits: PictureLimits = PictureLimits()
) -> npt.NDArray[np.uint8]:
    """Decode a picture to the square a network takes.

    The largest centred square is kept: networks have learned shapes, which squashing changes, and
    never saw the bars that padding adds. It is turned upright as EXIF says, transparency lies on
    white, an animation gives its first frame, 16 bits become 8 by range. ICC profiles are ignored,
    as they are where networks learn. An RGB picture of size x size comes back bit for bit.

    Args:
        data: a whole file in one of the ``ACCEPTED`` formats.
        size: side of the square, in pixels, at least 1.
        limits: what is refused before a pixel is decoded.

    Returns:
        Contiguous RGB, uint8 [size, size, 3].

    Raises:
        PictureTooLarge: more bytes or pixels than ``limits``.
        UnsupportedPicture: a format that is not accepted.
        UnreadablePicture: no picture, or one that is damaged or cut short.
    """
    _check_bytes(data, limits)
    try:
        source, exif = _open(data, limits)
        # JPEG decodes at 1/2, 1/4 or 1/8 for less work, never below twice the size, which leaves
        # the filter below enough to choose from. The other formats have no such thing.
        source.draft(None, (2 * size, 2 * size))
        image = _flatten(source)
        del source  # and with it a decoder's own copy of the pixels
        # Bicubic widened by the scale, what torchvision and timm evaluate with: no aliasing, and
        # sharp at 32 pixels, where box and bilinear blur. The gap averages whole blocks first:
        # many times faster for large pictures. Halves in the box keep it centred when turned.
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize(
            (size, size), Image.Resampling.BICUBIC, (left, top, left + side, top + side), 3.0
        )
        if (turn := _UPRIGHT.get(orientation(exif))) is not None:  # flipping left to right is 0
            image = image.transpose(turn)
    except Image.DecompressionBombError as error:  # Pillow's own limit, where ours is higher
        raise PictureTooLarge("the picture has too many pixels; send it smaller") from error
    except _DAMAGE as error:
        raise UnreadablePicture(
            "the picture is damaged or incomplete; send it again, or save it anew as JPEG or PNG"
        ) from error
    if image.mode != "RGBa":
        return np.array(image.convert("RGB"))
    # Premultiplied colour plus what shows through of the white behind. Bicubic overshoots: clip.
    pixels = np.asarray(image).astype(np.uint16)
    np.minimum(pixels[..., :3] + 255 - pixels[..., 3:], 255, out=pixels[..., :3])
    return np.ascontiguousarray(pixels[..., :3], dtype=np.uint8)


def shorter_side(data: bytes, limits: PictureLimits = PictureLimits()) -> int:
    """Return the smaller of a picture's width and height, from its header.

    Raises:
        InvalidPicture: as ``decode_picture``, as far as the header tells.
    """
    _check_bytes(data, limits)
    try:
        source, _ = _open(data, limits)
    except _DAMAGE as error:
        raise UnreadablePicture("the picture is damaged or incomplete") from error
    return min(source.size)


def _check_bytes(data: bytes, limits: PictureLimits) -> None:
    if len(data) > limits.max_bytes:
        raise PictureTooLarge(
            f"the picture has {len(data)} bytes; send at most {limits.max_bytes}, "
            "for example by saving it smaller or as JPEG"
        )


def _open(data: bytes, limits: PictureLimits) -> tuple[ImageFile.ImageFile, bytes]:
    """Return the picture with no pixel decoded yet, and its EXIF block or nothing."""
    image: ImageFile.ImageFile
    exif = b""
    if data.startswith(b"\xff\xd8\xff"):
        data, exif = jpeg_pixels(data)
        image = JpegImageFile(BytesIO(data))
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        data, exif = png_pixels(data)
        image = PngImageFile(BytesIO(data))
    elif data.startswith((b"GIF87a", b"GIF89a")):
        image = GifImageFile(BytesIO(gif_first_frame(data)))
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        # Its decoder allocates the canvas on opening, so the size is read here.
        _check_pixels(*webp_canvas(data), limits)
        image = WebPImageFile(BytesIO(data))
        exif = image.info.get("exif", b"")
    elif data.startswith(b"BM"):
        image = BmpImageFile(BytesIO(data))
        if image.info.get("compression") in {1, 2}:
            # RLE8, RLE4: decoded in Python, where a small file could hold up every other thread.
            raise UnsupportedPicture("run-length encoded BMP is not accepted; save it as PNG")
    else:
        raise _refusal(data)
    _check_pixels(*image.size, limits)
    return image, exif


def _check_pixels(width: int, height: int, limits: PictureLimits) -> None:
    if width * height > limits.max_pixels:
        raise PictureTooLarge(
            f"the picture has {width} x {height} pixels; "
            f"send at most {limits.max_pixels} in all, for example by scaling it down"
        )


def _refusal(data: bytes) -> UnsupportedPicture | UnreadablePicture:
    accepted = "send JPEG, PNG, WebP, GIF or BMP"
    if data[4:8] == b"ftyp":
        return UnsupportedPicture(f"HEIC, AVIF and video are not accepted; {accepted}")
    for start, name in _REFUSED.items():
        if data.startswith(start):
            return UnsupportedPicture(f"{name} is not accepted; {accepted}")
    return UnreadablePicture(f"this is no picture that can be read; {accepted}")


def _flatten(image: Image.Image) -> Image.Image:
    """Decode, and return it as L, RGB or, if anything may shine through, premultiplied RGBa."""
    image.load()
    key = image.info.get("transparency")
    if image.mode.startswith("I"):  # 16-bit grey: Pillow would clip it at 255
        values = np.asarray(image)
        grey = (values >> 8).astype(np.uint8)
        if key is not None:
            grey[values == key] = 255
        return Image.fromarray(grey)
    if isinstance(key, tuple) and max(key) > 255:  # 16-bit RGB: Pillow kept the high bytes
        image.info["transparency"] = tuple(value >> 8 for value in key)
    if image.has_transparency_data:
        # Scaling must weigh colours by their alpha, or hidden ones bleed into the edges.
        return (image if image.mode == "RGBA" else image.convert("RGBA")).convert("RGBa")
    if image.mode in {"L", "RGB"}:
        return image
    return image.convert("L" if image.mode == "1" else "RGB")
