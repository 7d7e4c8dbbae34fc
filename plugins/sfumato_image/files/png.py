"""PNG with 8 or 16 bits, grey or RGB, with or without alpha.

Pixels go through libpng (Pillow has no 16-bit RGB). The ancillary chunks that describe the whole
picture (profile, gamma, resolution, EXIF, text) are carried over as they are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs

from sfumato.errors import UnreadableFileError
from sfumato.files import atomic_file
from sfumato.signals import Signal
from sfumato_image.files.pixels import profile_for, split_exif, to_pixels, to_signal
from sfumato_image.files.reading import check_size, reading

__all__ = ["PNG"]

HEAD = 8 + 25  # signature and IHDR
KEPT = (b"sRGB", b"gAMA", b"cHRM", b"cICP", b"pHYs", b"tEXt", b"zTXt", b"iTXt")
XMP = b"XML:com.adobe.xmp"  # may repeat the orientation, which has been applied
INCH = 0.0254  # metres


@dataclass(frozen=True)
class PNG:
    """Portable Network Graphics; lossless."""

    suffixes: tuple[str, ...] = (".png",)

    def read(self, path: Path) -> Signal:
        """Reads a picture.

        Raises:
            UnreadableFileError: If the file is missing, damaged, animated or too large.
        """
        path = Path(path)
        with reading(path, "PNG"):
            content = path.read_bytes()
            found = list(chunks(content))
            names = [name for name, _ in found]
            if names[:1] != [b"IHDR"] or names[-1:] != [b"IEND"]:
                raise ValueError("its end is missing")
            if b"acTL" in names:
                raise UnreadableFileError(path, "it is animated", "extract one frame")
            check_size(path, *struct.unpack_from(">II", found[0][1]))
            header = dict(found)
            exif, orientation = split_exif(header.get(b"eXIf"))
            meta = {
                "format": "PNG",
                "exif": exif,
                "icc": profile(header.get(b"iCCP")),
                "dpi": resolution(header.get(b"pHYs")),
                "chunks": tuple(
                    (name, body)
                    for name, body in found
                    if name in KEPT and not body.startswith(XMP)
                ),
            }
            pixels = imagecodecs.png_decode(content)
            return to_signal(pixels, path, meta, orientation=orientation)

    def write(self, signal: Signal, path: Path) -> Path:
        """Writes a picture; 16 bits if it was read with more than 8.

        Raises:
            UnwritableFileError: If the folder is full or cannot be written.
        """
        pixels = to_pixels(signal, ("uint8", "uint16"))
        flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        plain = bytes(imagecodecs.png_encode(flat))
        with atomic_file(path) as work:
            work.write_bytes(plain[:HEAD] + ancillary(signal) + plain[HEAD:])
        return Path(path)


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each chunk."""
    place = 8
    while place + 12 <= len(content):
        size, name = struct.unpack_from(">I4s", content, place)
        if place + 12 + size > len(content):
            return
        yield name, content[place + 8 : place + 8 + size]
        place += 12 + size


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def profile(body: bytes | None) -> bytes | None:
    """The ICC profile inside an iCCP chunk: a name, 0, method 0, deflated bytes."""
    return None if body is None else zlib.decompress(body[body.index(b"\x00") + 2 :])


def resolution(body: bytes | None) -> tuple[float, float] | None:
    if body is None or body[8] != 1:  # 1: pixels per metre
        return None
    horizontal, vertical = struct.unpack_from(">II", body)
    return round(horizontal * INCH, 2), round(vertical * INCH, 2)


def ancillary(signal: Signal) -> bytes:
    meta = signal.meta
    parts = list(meta.get("chunks", ()))
    icc = profile_for(signal)
    if icc:
        parts = [part for part in parts if part[0] != b"sRGB"]  # the standard allows only one
        parts.insert(0, (b"iCCP", b"ICC profile\x00\x00" + zlib.compress(icc)))
    dpi = meta.get("dpi")
    if dpi and all(name != b"pHYs" for name, _ in parts):
        parts.append((b"pHYs", struct.pack(">IIB", *(round(v / INCH) for v in dpi), 1)))
    if meta.get("exif"):
        parts.append((b"eXIf", meta["exif"]))
    return b"".join(chunk(name, body) for name, body in parts)
