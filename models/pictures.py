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

# JPEG segments that pixels depend on: frames, tables, restarts, JFIF and Adobe colour marks.
_JPEG_KEPT = {*range(0xC0, 0xD0), 0xDB, 0xDD, 0xE0, 0xEE} - {0xC8}
# Each scan of a JPEG walks all its pixels, and 14 bytes make one: 50 take 2 s of 50 megapixels.
# Encoders write about ten; before them come some hundred segments at most, each a loop in Python.
_JPEG_MAX_SCANS = 50
_JPEG_MAX_SEGMENTS = 4096

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
    if len(data) > limits.max_bytes:
        raise PictureTooLarge(
            f"the picture has {len(data)} bytes; send at most {limits.max_bytes}, "
            "for example by saving it smaller or as JPEG"
        )
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
        if (turn := _UPRIGHT.get(_orientation(exif))) is not None:  # flipping left to right is 0
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


def _open(data: bytes, limits: PictureLimits) -> tuple[ImageFile.ImageFile, bytes]:
    """Return the picture with no pixel decoded yet, and its EXIF block or nothing."""
    image: ImageFile.ImageFile
    exif = b""
    if data.startswith(b"\xff\xd8\xff"):
        data, exif = _jpeg_pixels(data)
        image = JpegImageFile(BytesIO(data))
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        data, exif = _png_pixels(data)
        image = PngImageFile(BytesIO(data))
    elif data.startswith((b"GIF87a", b"GIF89a")):
        image = GifImageFile(BytesIO(_gif_first_frame(data)))
    elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        # Its decoder allocates the canvas on opening, so the size is read here.
        _check_pixels(*_webp_canvas(data), limits)
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


def _jpeg_pixels(data: bytes) -> tuple[bytes, bytes]:
    """Return the JPEG up to its first end mark without what no pixel needs, and its EXIF."""
    kept, exif, at = [data[:2]], b"", 2
    for _ in range(_JPEG_MAX_SEGMENTS):
        at = data.index(0xFF, at)
        marker = data[at + 1]
        if marker == 0xDA:  # the scans begin; inside them FF D9 and FF DA are nothing else
            break
        if marker in {0x00, 0x01, 0xFF, *range(0xD0, 0xD9)}:  # padding, or marks without length
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if end < at + 4 or marker == 0xD9:
            raise ValueError("segment without a length, or no scan")
        if marker in _JPEG_KEPT:
            kept.append(data[at:end])
        elif marker == 0xE1 and not exif and data.startswith(b"Exif\0\0", at + 4):
            exif = data[at + 4 : end]
        at = end
    else:
        raise ValueError("more segments than any encoder writes")
    end = data.find(b"\xff\xd9", at)
    scans = data[at : end + 2 if end >= 0 else len(data)]
    if scans.count(b"\xff\xda") > _JPEG_MAX_SCANS:
        raise UnsupportedPicture("the JPEG has too many scans; save it anew as a plain JPEG")
    return b"".join([*kept, scans]), exif


def _png_pixels(data: bytes) -> tuple[bytes, bytes]:
    """Return the PNG with only the chunks that pixels depend on, and its EXIF."""
    kept, exif, at = [data[:8]], b"", 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if kind in {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}:
            kept.append(data[at:end])
        elif kind == b"eXIf":
            exif = data[at + 8 : end - 4]
        if kind == b"IEND":
            break
        at = end
    return b"".join(kept), exif


def _gif_first_frame(data: bytes) -> bytes:
    """Return the GIF from its first frame on, its screen grown to hold that frame.

    The control block is written anew without what happens after the frame: on opening, Pillow
    allocates as many pixels as that asks for.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = palette_end = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    control = b""
    while data[at] == 0x21:  # an extension: its kind, then blocks, each with its length
        if data[at + 1] == 0xF9 and data[at + 2] == 4:
            control = bytes([0x21, 0xF9, 4, data[at + 3] & 1, 0, 0, data[at + 6], 0])
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    left, top, frame_width, frame_height = struct.unpack_from("<4H", data, at + 1)
    if data[at] != 0x2C:
        raise ValueError("no frame")
    screen = struct.pack("<HH", max(width, left + frame_width), max(height, top + frame_height))
    return data[:6] + screen + data[10:palette_end] + control + data[at:]


def _webp_canvas(data: bytes) -> tuple[int, int]:
    """Return width and height in pixels (WebP container specification; RFC 6386, RFC 9649)."""
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def _orientation(exif: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1, upright, if there is none or it is garbage."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = ">" if tiff.startswith(b"MM") else "<"
    try:
        (first,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, first)
        for at in range(first + 2, first + 2 + 12 * entries, 12):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, at)
            if tag == 0x0112:
                return int(value)
    except struct.error:
        pass
    return 1
