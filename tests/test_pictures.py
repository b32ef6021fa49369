"""Pictures: what is accepted, how it becomes pixels, and that bad ones fail without harm."""

import io
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
import numpy.typing as npt
import pytest
import skimage.data
from PIL import Image, ImageFile

from models.errors import InvalidPicture, PictureTooLarge, UnreadablePicture, UnsupportedPicture
from models.pictures import ACCEPTED, PictureLimits, decode_picture

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


@contextmanager
def at_most_bytes(limit: int) -> Iterator[None]:
    """Fail if Python allocates more at once; Pillow's own pixels are not seen."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def corners() -> Image.Image:
    """A red, green, blue and white quarter each, from top left to bottom right."""
    quarters = np.array([[RED, GREEN], [BLUE, WHITE]], dtype=np.uint8)
    return Image.fromarray(quarters).resize((64, 64), Image.Resampling.NEAREST)


def close(pixels: Pixels, expected: object, tolerance: float = 3) -> bool:
    difference = np.abs(pixels.astype(float) - np.asarray(expected, dtype=float))
    return bool(difference.max() <= tolerance)


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
