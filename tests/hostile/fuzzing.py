"""The decoder under atheris; arguments are libFuzzer's. A file instead of a folder is replayed."""

import sys

import atheris

with atheris.instrument_imports(include=["PIL", "models.pictures", "models.picture_formats"]):
    from models.errors import InvalidPicture
    from models.pictures import PictureLimits, decode_picture

LIMITS = PictureLimits(max_pixels=1_000_000)
"""Smaller than in earnest: most of the time would go into clearing memory."""


def decode(data: bytes) -> None:
    """Decode a picture, or refuse it; anything else ends the process."""
    try:
        pixels = decode_picture(data, 16, LIMITS)
    except InvalidPicture:
        return
    if pixels.shape != (16, 16, 3):
        raise ValueError(f"a picture of the shape {pixels.shape}")


if __name__ == "__main__":
    atheris.Setup(sys.argv, decode)
    atheris.Fuzz()
