"""What of a JPEG, PNG, GIF, WebP or EXIF block its pixels depend on, found without a decoder.

Each function walks the parts of a file by their lengths and copies at most what is needed. Bytes
that are not what the format says raise ``ValueError``, ``IndexError`` or ``struct.error``;
``models.pictures`` turns those into errors that tell an uploader what to do.
"""

import struct

from models.errors import UnsupportedPicture

# JPEG segments that pixels depend on: frames, tables, restarts, JFIF and Adobe colour marks.
_JPEG_KEPT = {*range(0xC0, 0xD0), 0xDB, 0xDD, 0xE0, 0xEE} - {0xC8}
# Each scan of a JPEG walks all its pixels, and 14 bytes make one: 50 take 2 s of 50 megapixels.
# Encoders write about ten; before them come some hundred segments at most, each a loop in Python.
_JPEG_MAX_SCANS = 50
_JPEG_MAX_SEGMENTS = 4096


def jpeg_pixels(data: bytes) -> tuple[bytes, bytes]:
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


def png_pixels(data: bytes) -> tuple[bytes, bytes]:
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


def gif_first_frame(data: bytes) -> bytes:
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


def webp_canvas(data: bytes) -> tuple[int, int]:
    """Return width and height in pixels (WebP container specification; RFC 6386, RFC 9649)."""
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def orientation(exif: bytes) -> int:
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
