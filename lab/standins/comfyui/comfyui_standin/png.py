"""Real PNG files from the standard library."""

import struct
import zlib

MAGIC = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPE_RGB = 2


def chunk(kind: bytes, content: bytes) -> bytes:
    """Return one chunk: length, kind, content, checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, seed: int) -> bytes:
    """Return a picture of `width` x `height` pixels: stripes that follow from `seed`."""
    rows = bytearray()
    for y in range(height):
        colour = bytes(((seed >> shift) + y * 255 // height) & 0xFF for shift in (0, 8, 16))
        rows += b"\x00" + colour * width
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPE_RGB, 0, 0, 0)
    return MAGIC + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
