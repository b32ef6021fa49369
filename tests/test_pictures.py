"""Pictures: what is accepted, and how it becomes pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from models.pictures import ACCEPTED, decode_picture
from tests.encoded import (
    BLUE,
    GREEN,
    RED,
    ROCKET,
    WHITE,
    after_png_header,
    chunk,
    close,
    corners,
    encode,
    noise,
    png_header,
)


@pytest.mark.parametrize("file_format", sorted(ACCEPTED))
def test_every_accepted_format_shows_the_same_picture(file_format: str) -> None:
    options = {"save_all": True, "append_images": [noise(8)]} if file_format == "MPO" else {}
    pixels = decode_picture(encode(ROCKET, file_format, **options), 32)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    left = (ROCKET.width - ROCKET.height) // 2
    square = ROCKET.crop((left, 0, left + ROCKET.height, ROCKET.height))
    error = np.abs(pixels.astype(int) - np.asarray(square.resize((32, 32)), dtype=int))
    assert error.mean() < (8 if file_format == "GIF" else 2)  # a GIF dithers 256 colours


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_a_picture_of_the_right_size_comes_back_bit_for_bit(file_format: str) -> None:
    picture = noise(32)
    assert np.array_equal(decode_picture(encode(picture, file_format), 32), np.asarray(picture))


def test_a_jpeg_of_the_right_size_is_not_resampled() -> None:
    data = encode(noise(32), "JPEG")
    with Image.open(io.BytesIO(data)) as expected:
        assert np.array_equal(decode_picture(data, 32), np.asarray(expected))


@pytest.mark.parametrize("turned", [False, True])
def test_the_centre_square_is_kept(turned: bool) -> None:
    wide = Image.new("RGB", (300, 100), RED)
    wide.paste(Image.new("RGB", (100, 100), GREEN), (100, 0))
    picture = wide.transpose(Image.Transpose.ROTATE_90) if turned else wide
    pixels = decode_picture(encode(picture, "PNG"), 16)
    assert close(pixels[2:-2, 2:-2], GREEN)  # the filter looks a little past the edge
    assert pixels[..., 1].min() > 128


def test_scaling_down_averages_what_it_drops() -> None:
    stripes = np.zeros((320, 320, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    assert close(decode_picture(encode(Image.fromarray(stripes), "PNG"), 32), 127.5, 6)


def test_a_large_jpeg_is_close_to_its_full_decode() -> None:
    photo = ROCKET.resize((1280, 1280), Image.Resampling.BICUBIC)
    small = decode_picture(encode(photo, "JPEG", quality=95), 32).astype(int)
    assert np.abs(small - np.asarray(photo.resize((32, 32)), dtype=int)).mean() < 2


@pytest.mark.parametrize("size", [(10_000, 1), (1, 10_000), (10_000, 3), (1, 1)])
def test_an_elongated_picture_is_read_in_little_memory(size: tuple[int, int]) -> None:
    assert close(decode_picture(encode(Image.new("RGB", size, BLUE), "PNG"), 32), BLUE, 0)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (4, [BLUE, WHITE, RED, GREEN]),
        (5, [RED, BLUE, GREEN, WHITE]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),
        (9, [RED, GREEN, BLUE, WHITE]),
    ],
)
def test_exif_rotation_is_applied(
    file_format: str, orientation: int, expected: list[tuple[int, int, int]]
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    exif[0x0112] = orientation
    pixels = decode_picture(encode(corners(), file_format, exif=exif, quality=95), 16)
    assert close(pixels[4::8, 4::8].reshape(4, 3), expected, 8)


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_either_byte_order_is_read(order: str) -> None:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    tiff = mark + struct.pack(f"{order}IHHHIHH", 8, 1, 0x0112, 3, 1, 3, 0)
    pixels = decode_picture(after_png_header(encode(corners(), "PNG"), chunk(b"eXIf", tiff)), 16)
    assert close(pixels[4, 4], WHITE)


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x1a\x01\x05\0\xff\xff\xff\x7f\xff\xff\xff\x7f",
        b"Exif\0\0" + bytes(range(256)),
    ],
)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_garbage_in_exif_leaves_the_picture_as_it_is(file_format: str, exif: bytes) -> None:
    pixels = decode_picture(encode(corners(), file_format, exif=exif, quality=95), 16)
    assert close(pixels[4::8, 4::8].reshape(4, 3), [RED, GREEN, BLUE, WHITE], 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("size", [8, 32])
def test_alpha_lies_on_white(mode: str, size: int) -> None:
    picture = Image.new("RGBA", (32, 32), (0, 0, 0, 51)).convert(mode)
    assert close(decode_picture(encode(picture, "PNG"), size), 204, 1)


def test_colours_hidden_by_alpha_do_not_bleed_into_the_edges() -> None:
    pixels = np.zeros((64, 64, 4), dtype=np.uint8)
    pixels[:, :32] = (*WHITE, 255)
    pixels[:, 32:] = (*RED, 0)
    assert close(decode_picture(encode(Image.fromarray(pixels), "PNG"), 9), WHITE, 0)


def test_alpha_of_webp_lies_on_white() -> None:
    picture = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    assert close(decode_picture(encode(picture, "WEBP", lossless=True), 8), WHITE, 0)


@pytest.mark.parametrize("transparency", [0, b"\0\xff"])
def test_a_transparent_palette_entry_is_white(transparency: int | bytes) -> None:
    picture = Image.new("P", (32, 32), 0)
    picture.putpalette([*RED, *GREEN])
    picture.paste(1, (16, 0, 32, 32))
    pixels = decode_picture(encode(picture, "PNG", transparency=transparency), 32)
    assert close(pixels[:, :16], WHITE, 0)
    assert close(pixels[:, 16:], GREEN, 0)


def test_a_transparent_gif_lies_on_white() -> None:
    picture = Image.new("P", (32, 32), 0)
    picture.putpalette([*RED, *GREEN])
    assert close(decode_picture(encode(picture, "GIF", transparency=0), 16), WHITE, 0)


def test_a_palette_is_applied() -> None:
    picture = Image.new("P", (32, 32), 1)
    picture.putpalette([*RED, *BLUE])
    for file_format in ("PNG", "GIF", "BMP"):
        assert close(decode_picture(encode(picture, file_format), 16), BLUE, 0)


def test_a_transparent_colour_of_an_rgb_picture_is_white() -> None:
    data = encode(corners(), "PNG", transparency=RED)
    assert close(decode_picture(data, 64)[8, 8], WHITE, 0)


def test_one_bit_and_grey_pictures_become_rgb() -> None:
    for mode in ("1", "L"):
        picture = Image.new(mode, (32, 32), 255)
        picture.paste(0, (0, 0, 16, 32))
        pixels = decode_picture(encode(picture, "PNG"), 32)
        assert close(pixels[:, :16], 0, 0)
        assert close(pixels[:, 16:], 255, 0)


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    pixels = decode_picture(encode(Image.fromarray(ramp), "PNG"), 64)
    assert close(pixels[..., 0], ramp / 257, 1)


def test_a_transparent_sixteen_bit_grey_is_white() -> None:
    data = encode(Image.fromarray(np.full((8, 8), 300, dtype=np.uint16)), "PNG")
    assert close(decode_picture(data, 8), 1, 0)
    assert close(decode_picture(after_png_header(data, chunk(b"tRNS", b"\x01\x2c")), 8), WHITE, 0)


def sixteen_bit_rgb(*colour: int) -> bytes:
    rows = (b"\0" + struct.pack(">3H", *colour) * 8) * 8
    return png_header(8, 8, depth=16) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")


def test_sixteen_bit_rgb_is_scaled() -> None:
    colour = (0x8000, 0xFFFF, 0x0100)
    assert close(decode_picture(sixteen_bit_rgb(*colour), 8), (128, 255, 1), 1)
    keyed = after_png_header(sixteen_bit_rgb(*colour), chunk(b"tRNS", struct.pack(">3H", *colour)))
    assert close(decode_picture(keyed, 8), WHITE, 0)


def test_cmyk_shows_its_colours() -> None:
    data = encode(Image.new("RGB", (64, 64), RED).convert("CMYK"), "JPEG", quality=95)
    assert close(decode_picture(data, 16), RED, 6)


def test_a_jpeg_that_holds_rgb_itself_shows_its_colours() -> None:
    data = encode(corners(), "JPEG", keep_rgb=True, quality=95)
    for name, number in zip(b"RGB", (1, 2, 3), strict=True):  # so only Adobe's mark says RGB
        data = data.replace(bytes([name, 0x11, 0]), bytes([number, 0x11, 0]))
        data = data.replace(bytes([name, 0]), bytes([number, 0]))
    assert close(decode_picture(data, 16)[4::8, 4::8].reshape(4, 3), [RED, GREEN, BLUE, WHITE], 8)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(file_format: str) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in (GREEN, RED, BLUE)]
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:], lossless=True)
    assert close(decode_picture(data, 16), GREEN, 0)


def test_extensions_before_the_first_frame_of_a_gif_are_passed_over() -> None:
    picture = Image.new("P", (32, 32), 1)
    picture.putpalette([*RED, *BLUE])
    data = encode(picture, "GIF", comment=b"a long comment " * 60, loop=0, duration=100)
    assert close(decode_picture(data, 16), BLUE, 0)
