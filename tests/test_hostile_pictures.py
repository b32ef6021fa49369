"""Pictures that are too large, damaged or made to do harm fail by themselves and quickly."""

import random
import struct
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image, ImageFile

from models.errors import InvalidPicture, PictureTooLarge, UnreadablePicture, UnsupportedPicture
from models.pictures import ACCEPTED, PictureLimits, decode_picture
from tests.encoded import (
    BOMBS,
    PNG,
    RED,
    ROCKET,
    after_png_header,
    chunk,
    close,
    corners,
    encode,
    gif,
    noise,
    png_header,
)
from tests.mutations import mutated


@contextmanager
def at_most_bytes(limit: int) -> Iterator[None]:
    """Fail if Python allocates more at once; Pillow's own pixels are not seen."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def test_a_picture_with_too_many_bytes_is_refused() -> None:
    data = encode(noise(32), "PNG")
    decode_picture(data, 32, PictureLimits(max_bytes=len(data)))
    with pytest.raises(PictureTooLarge, match=str(len(data) - 1)):
        decode_picture(data, 32, PictureLimits(max_bytes=len(data) - 1))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_picture_with_too_many_pixels_is_refused(file_format: str) -> None:
    data = encode(noise(32), file_format)
    decode_picture(data, 32, PictureLimits(max_pixels=32 * 32))
    with pytest.raises(PictureTooLarge, match="32 x 32"):
        decode_picture(data, 32, PictureLimits(max_pixels=32 * 32 - 1))


@pytest.mark.parametrize("name", BOMBS)
def test_a_picture_over_the_pixel_limit_is_refused_before_decoding(name: str) -> None:
    started = time.perf_counter()
    with at_most_bytes(2**20), pytest.raises(PictureTooLarge, match="pixels"):
        decode_picture(BOMBS[name], 32)
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_and_profiles_are_never_inflated(kind: bytes) -> None:
    start = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind]
    bomb = chunk(kind, start + zlib.compress(bytes(2**23)))
    plain = encode(corners(), "PNG")
    with at_most_bytes(2**21):
        pixels = decode_picture(after_png_header(plain, bomb * 20), 32)
    assert np.array_equal(pixels, decode_picture(plain, 32))


def test_a_jpeg_with_thousands_of_scans_is_refused() -> None:
    data = encode(noise(32), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(UnsupportedPicture, match="scans"):
        decode_picture(data[:-2] + data[last:-2] * 1000 + b"\xff\xd9", 32)


@pytest.mark.parametrize("filler", [b"\xff", b"\xff\x01", b"\xff\xe1\0\2", b"\xff\xdd\0\2"])
def test_a_jpeg_of_nothing_but_marks_is_refused_at_once(filler: bytes) -> None:
    started = time.perf_counter()
    with pytest.raises(UnreadablePicture):
        decode_picture(b"\xff\xd8\xff\xe0\0\2" + filler * (2**22 // len(filler)), 32)
    assert time.perf_counter() - started < 0.5


def test_what_follows_a_jpeg_in_its_file_is_ignored() -> None:
    data = encode(corners(), "JPEG")
    film = b"\xff\xda" * 1000  # a motion photo carries a film
    assert np.array_equal(decode_picture(data + film, 16), decode_picture(data, 16))


def test_run_length_encoded_bmp_is_refused() -> None:
    header = struct.pack("<IIiiHHI", 54 + 1024, 40, 5000, 5000, 1, 8, 1) + bytes(20)
    data = b"BM" + bytes(8) + header + bytes(1024) + b"\0\2\xff\xff" * 100
    with pytest.raises(UnsupportedPicture, match="PNG"):
        decode_picture(data, 32)


@pytest.mark.parametrize("file_format", ["TIFF", "ICO", "JPEG2000", "PDF", "AVIF", "PPM", "TGA"])
def test_other_formats_are_refused(file_format: str) -> None:
    with pytest.raises((UnsupportedPicture, UnreadablePicture), match="JPEG, PNG, WebP"):
        decode_picture(encode(corners(), file_format), 32)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"II*\0", "TIFF"),
        (b"%PDF-1.7", "PDF"),
        (b"<svg xmlns=", "SVG"),
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"8BPS", "Photoshop"),
    ],
)
def test_a_known_other_format_is_called_by_its_name(start: bytes, name: str) -> None:
    with pytest.raises(UnsupportedPicture, match=name):
        decode_picture(start + bytes(100), 32)


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"hello", b"\xff\xd8\xff", PNG, b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM"]
)
def test_what_is_no_picture_is_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadablePicture):
        decode_picture(data, 32)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_picture_is_unreadable(file_format: str) -> None:
    data = encode(noise(64), file_format)
    for kept in (0.2, 0.5, 0.9):
        with pytest.raises(UnreadablePicture, match="damaged or incomplete"):
            decode_picture(data[: int(len(data) * kept)], 32)


def test_a_picture_without_area_is_unreadable() -> None:
    for data in (png_header(0, 5) + chunk(b"IDAT"), gif(0, 0, frame=(0, 0)), gif(5, 5)[:-11]):
        with pytest.raises(UnreadablePicture):
            decode_picture(data, 32)


def test_a_palette_picture_without_its_palette_is_unreadable() -> None:
    rows = zlib.compress(bytes(9 * 8))
    data = png_header(8, 8, colour=3) + chunk(b"IDAT", rows) + chunk(b"IEND")
    with pytest.raises(UnreadablePicture):
        decode_picture(data, 32)


def test_a_malformed_animation_warns_nobody() -> None:
    control = chunk(b"acTL", bytes(8))
    assert close(decode_picture(after_png_header(encode(corners(), "PNG"), control), 64)[8, 8], RED)


def test_a_limit_above_that_of_pillow_warns_nobody() -> None:
    with pytest.raises(UnreadablePicture):
        decode_picture(png_header(10_000, 10_000), 32, PictureLimits(max_pixels=10**9))
    with pytest.raises(PictureTooLarge):  # Pillow refuses this canvas by itself
        decode_picture(BOMBS["webp lossy"], 32, PictureLimits(max_pixels=10**9))


def test_many_threads_decode_at_once_and_change_nothing_global() -> None:
    state = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    good = {name: encode(ROCKET, name) for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP")}
    expected = {name: decode_picture(data, 32) for name, data in good.items()}

    def right(number: int) -> bool:
        name = list(good)[number % len(good)]
        with pytest.raises(InvalidPicture):
            decode_picture(good[name][:1000], 32)
        return np.array_equal(decode_picture(good[name], 32), expected[name])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, range(60)))
    assert state == (
        *(Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        list(warnings.filters),
    )


@pytest.mark.parametrize("file_format", sorted(ACCEPTED))
def test_a_mutated_picture_is_decoded_or_refused_and_nothing_else(file_format: str) -> None:
    rng = random.Random(file_format)
    rgb = ROCKET.resize((50, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [rgb, rgb.convert("L")]
    if file_format in {"PNG", "GIF", "BMP", "WEBP"}:
        kinds += [rgb.quantize(16), rgb.convert("1"), rgb.convert("RGBA")]
    pictures = [encode(kind, file_format, exif=exif) for kind in kinds]
    outcomes = set()
    for _ in range(80):
        data = mutated(rng.choice(pictures), rng)
        try:
            pixels = decode_picture(data, 16)
        except InvalidPicture:
            outcomes.add("refused")
        else:
            outcomes.add("decoded")
            assert pixels.shape == (16, 16, 3)
            assert pixels.dtype == np.uint8
    assert outcomes == {"refused", "decoded"}
