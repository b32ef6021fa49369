"""A data set small enough to train in seconds: PNG pictures of red, green and blue squares."""

import struct
import zlib
from pathlib import Path
from random import Random

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 60, 220)}


def square(colour: tuple[int, int, int], random: Random) -> bytes:
    """Draw a PNG of 32 by 32 pixels: a square of this colour somewhere on grey."""
    left, top, size = random.randrange(4, 14), random.randrange(4, 14), random.randrange(10, 18)
    grey = random.randrange(90, 160)
    rows = b""
    for y in range(32):
        inside = [left <= x < left + size and top <= y < top + size for x in range(32)]
        rows += b"\0" + b"".join(bytes(colour if here else (grey,) * 3) for here in inside)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
    image = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + image


def draw_dataset(folder: Path) -> None:
    """Write `squares/{train,test}/<colour>/<n>.png`, readable by the container's own user."""
    random = Random(14)
    for split, count in (("train", 40), ("test", 8)):
        for name, colour in COLOURS.items():
            place = folder / "squares" / split / name
            place.mkdir(parents=True)
            for n in range(count):
                (place / f"{n}.png").write_bytes(square(colour, random))
    folder.chmod(0o755)
