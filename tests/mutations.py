"""Pictures of every kind that is accepted, and what becomes of them in hostile hands."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from PIL import Image

from tests.encoded import BOMBS, PNG, ROCKET, after_png_header, chunk, encode, png_header

MEDIA_TYPES = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp", "image/*"]
ENDINGS = ["jpg", "png", "webp", "gif", "bmp", "html", "php", "svg", ""]

ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""First column and row of each pass of an interlaced PNG, and the steps to the next."""


class Hostile(NamedTuple):
    """A picture as it is sent: what it was made from, its bytes, and what it is called."""

    origin: str
    data: bytes
    filename: str
    media_type: str


@cache
def specimens() -> Mapping[str, bytes]:
    """Return whole pictures by name: every format in every mode, odd but fine."""
    rgb = ROCKET.resize((50, 40))
    palette, grey, clear = rgb.quantize(16), rgb.convert("L"), rgb.convert("RGBA")
    clear.putalpha(grey)
    deep = Image.frombytes("I;16", (20, 20), bytes(range(200)) * 4)
    profile = bytes(128) + b"mntrRGB XYZ "
    found = {
        "jpeg": encode(rgb, "JPEG"),
        "jpeg progressive": encode(rgb, "JPEG", progressive=True),
        "jpeg grey": encode(grey, "JPEG"),
        "jpeg cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "jpeg profile": encode(rgb, "JPEG", icc_profile=profile * 500),
        "jpeg two": encode(rgb, "MPO", save_all=True, append_images=[grey.convert("RGB")]),
        "png": encode(rgb, "PNG"),
        "png grey": encode(grey, "PNG"),
        "png alpha": encode(clear, "PNG"),
        "png palette": encode(palette, "PNG", transparency=3),
        "png bits": encode(rgb.convert("1"), "PNG"),
        "png deep": encode(deep, "PNG"),
        "png interlaced": interlaced(rgb),
        "png animated": encode(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "webp": encode(rgb, "WEBP"),
        "webp lossless": encode(clear, "WEBP", lossless=True),
        "webp animated": encode(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "gif": encode(palette, "GIF", transparency=2),
        "gif animated": encode(palette, "GIF", save_all=True, append_images=[palette.rotate(90)]),
        "bmp": encode(rgb, "BMP"),
        "bmp palette": encode(palette, "BMP"),
        "bmp bits": encode(rgb.convert("1"), "BMP"),
        "bmp alpha": encode(clear, "BMP"),
    }
    for turn in range(10):  # 0 and 9 are no orientations
        exif = Image.Exif()
        exif[0x0112] = turn
        for file_format in ("JPEG", "PNG", "WEBP"):
            found[f"{file_format.lower()} turned {turn}"] = encode(rgb, file_format, exif=exif)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.txt", "a")
    script = b"<html><script>alert(1)</script></html>"
    plain = found["png"]
    found |= {
        "jpeg and zip": found["jpeg"] + archive.getvalue(),
        "gif and html": found["gif"] + script,
        "png and jpeg": plain + found["jpeg"],
        "png around jpeg": after_png_header(plain, chunk(b"tEXt", b"a\0" + found["jpeg"])),
        "jpeg and png": found["jpeg"] + plain,
    }
    for kind, start in {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}.items():
        bomb = chunk(kind, start + zlib.compress(bytes(2**22)))
        found[f"png {kind.decode()}"] = after_png_header(plain, bomb * 5)
    return found


@cache
def monsters() -> Mapping[str, bytes]:
    """Return what is no picture by name, though it begins like one."""
    rows = zlib.compress(bytes(2**20))
    return {
        **{f"bomb {name}": data for name, data in BOMBS.items()},
        "png of nothing": png_header(0, 0) + chunk(b"IDAT", rows) + chunk(b"IEND"),
        "png without palette": png_header(8, 8, colour=3) + chunk(b"IDAT", rows) + chunk(b"IEND"),
        "png of bad depth": png_header(8, 8, depth=7) + chunk(b"IDAT", rows) + chunk(b"IEND"),
        "png of many rows": png_header(7000, 7000) + chunk(b"IDAT", rows * 3) + chunk(b"IEND"),
        "png of one chunk": PNG + struct.pack(">I4s", 2**31 - 1, b"IHDR") + bytes(20),
        "webp in name only": b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff" + bytes(50),
        "gif of extensions": b"GIF89a" + bytes(7) + b"!\xff\x0bNETSCAPE2.0\3\1\0\0\0" * 5000,
        "bmp of negative height": b"BM"
        + bytes(8)
        + struct.pack("<IIiiHHI", 54, 40, 9, -(2**31), 1, 24, 0)
        + bytes(20),
    }


def interlaced(image: Image.Image) -> bytes:
    """Return an RGB picture as an interlaced PNG, which Pillow does not write (Adam7)."""
    rows = b""
    for x, y, across, down in ADAM7:
        for row in range(y, image.height, down):
            pixels = [image.getpixel((column, row)) for column in range(x, image.width, across)]
            rows += b"\0" + b"".join(bytes(pixel) for pixel in pixels if isinstance(pixel, tuple))
    header = struct.pack(">IIBBBBB", *image.size, 8, 2, 0, 0, 1)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Cut short, or with bits flipped, bytes replaced, a run doubled or a run left out."""
    picture = bytearray(data)
    match rng.randrange(5):
        case 0:
            del picture[rng.randrange(len(picture)) :]
        case 1:
            for _ in range(rng.randint(1, 8)):
                picture[rng.randrange(len(picture))] ^= 1 << rng.randrange(8)
        case 2:  # in the header, where sizes and lengths are
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(min(len(picture), 120))
                picture[at] = rng.choice([0, 127, 128, 255, rng.randrange(256)])
        case 3:
            start = rng.randrange(len(picture))
            picture[start:start] = picture[start : start + rng.randint(1, 60)]
        case _:
            start = rng.randrange(len(picture))
            del picture[start : start + rng.randint(1, 40)]
    return bytes(picture)


def hostile(rng: random.Random) -> Hostile:
    """Return a picture that was tampered with, or its name was; one in eight is whole."""
    whole = specimens()
    if rng.random() < 0.1:
        origin, data = rng.choice(list(monsters().items()))
    else:
        origin = rng.choice(list(whole))
        data = whole[origin]
    if rng.random() < 0.1:  # another's end
        data = data[: rng.randrange(1, len(data))] + rng.choice(list(whole.values()))[-200:]
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2, 2, 3))):
        data = mutated(data, rng) or b"\0"
    name = f"{origin}.{rng.choice(ENDINGS)}"
    return Hostile(origin, data, name, rng.choice(MEDIA_TYPES))
