"""The quantised DCT coefficients of a JPEG file, with the tables that they were divided by.

What a JPEG file records is not pixels but integers q: for each 8×8 block of each colour plane,
q = round(c/s) with c its DCT coefficients and s the table of the plane. Everything that could have
been photographed has c in the intervals [(q − ½) s, (q + ½) s]. A decoded picture has lost them to
rounding, clipping and chroma interpolation; so they are read from the file itself.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import ShapeError, UnreadableFileError
from sfumato_image.operators.jpeg_bits import ZIGZAG, EndOfData, code_table
from sfumato_image.operators.jpeg_entropy import Component, Scan, decode_scan

__all__ = ["JPEG", "Plane", "read_jpeg"]

SEQUENTIAL, PROGRESSIVE = {0xC0, 0xC1}, 0xC2
OTHER_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}


@dataclass(frozen=True, eq=False)
class Plane:
    """One colour plane as stored.

    Args:
        quantised: Integers q, ``[rows, columns, 8, 8]``, in blocks.
        table: Steps s, ``[8, 8]``.
        vertical: Picture rows per row of the plane.
        horizontal: Picture columns per column of the plane.
    """

    quantised: Tensor
    table: Tensor
    vertical: int
    horizontal: int


@dataclass(frozen=True, eq=False)
class JPEG:
    """A file's coefficients.

    Args:
        height: Of the stored picture, before any EXIF rotation.
        width: Likewise.
        colour: ``"grey"``, ``"ycbcr"`` or ``"rgb"``.
        planes: In the file's order.
    """

    height: int
    width: int
    colour: str
    planes: tuple[Plane, ...]


@dataclass
class Reader:
    """What has been read so far."""

    height: int = 0
    width: int = 0
    progressive: bool = False
    units: tuple[int, int] = (0, 0)
    components: list[Component] = field(default_factory=list)
    tables: dict[int, Tensor] = field(default_factory=dict)
    dc: dict[int, array[int]] = field(default_factory=dict)
    ac: dict[int, array[int]] = field(default_factory=dict)
    restart: int = 0
    adobe: int | None = None
    jfif: bool = False
    scans: int = 0
    complete: bool = False


def read_jpeg(data: bytes, path: Path | str) -> JPEG:
    """Reads the coefficients of a JPEG file.

    Args:
        data: The whole file.
        path: Its name, for messages.

    Raises:
        UnreadableFileError: If it is not a JPEG file, is damaged, or uses a rare coding
            (arithmetic, lossless, 12 bits).
        ShapeError: If it has two or four colour planes.
    """
    reader = Reader()
    try:
        for marker, body, tail in segments(data):
            understand(reader, marker, body, tail, path)
        if reader.progressive and not reader.complete:
            raise EndOfData
    except (EndOfData, IndexError, KeyError, OverflowError, ValueError, struct.error) as error:
        if isinstance(error, ShapeError):
            raise
        raise UnreadableFileError(path, "its JPEG data are damaged or cut off") from error
    if not reader.components or not reader.scans:
        raise UnreadableFileError(path, "it is no JPEG file", "give the file as it was saved")
    try:
        planes = tuple(plane(reader, part) for part in reader.components)
    except KeyError as error:
        raise UnreadableFileError(path, "a quantisation table is missing") from error
    return JPEG(reader.height, reader.width, colour(reader), planes)


def segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker segments: (code, body, what follows up to the next marker that is not a restart)."""
    if data[:2] != b"\xff\xd8":
        return
    position = 2
    while position + 2 <= len(data):
        if data[position] != 0xFF:
            raise EndOfData
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == 0xD9:
            yield marker, b"", b""
            return
        (length,) = struct.unpack_from(">H", data, position + 2)
        body = data[position + 4 : position + 2 + length]
        position += 2 + length
        start = position
        if marker == 0xDA:
            position = scan_end(data, position)
        yield marker, body, data[start:position]


def scan_end(data: bytes, position: int) -> int:
    """Where the entropy-coded data stop: the next marker but stuffing and restarts."""
    while True:
        position = data.find(b"\xff", position)
        if position < 0 or position + 1 >= len(data):
            return len(data)
        following = data[position + 1]
        if following and not 0xD0 <= following <= 0xD7 and following != 0xFF:
            return position
        position += 1 if following == 0xFF else 2


def understand(reader: Reader, marker: int, body: bytes, tail: bytes, path: Path | str) -> None:
    """Takes in one segment."""
    if marker == 0xE0 and body[:4] == b"JFIF":
        reader.jfif = True
    elif marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
        reader.adobe = body[11]
    elif marker == 0xDB:
        read_tables(reader, body)
    elif marker == 0xC4:
        read_codes(reader, body)
    elif marker == 0xDD:
        (reader.restart,) = struct.unpack(">H", body[:2])
    elif marker in SEQUENTIAL or marker == PROGRESSIVE:
        reader.progressive = marker == PROGRESSIVE
        read_frame(reader, body, path)
    elif marker in OTHER_FRAMES:
        raise UnreadableFileError(
            path, "it uses lossless or arithmetic JPEG coding", "save it as an ordinary JPEG"
        )
    elif marker == 0xDA:
        read_scan(reader, body, tail)
    elif marker == 0xD9:
        reader.complete = True


def read_tables(reader: Reader, body: bytes) -> None:
    position = 0
    while position < len(body):
        wide, number = body[position] >> 4, body[position] & 15
        kind, size = (">64H", 128) if wide else ("64B", 64)
        values = struct.unpack_from(kind, body, position + 1)
        table = torch.zeros(64, dtype=torch.float64)
        table[list(ZIGZAG)] = torch.tensor(values, dtype=torch.float64)
        reader.tables[number] = table.reshape(8, 8)
        position += 1 + size


def read_codes(reader: Reader, body: bytes) -> None:
    position = 0
    while position < len(body):
        kind, number = body[position] >> 4, body[position] & 15
        counts = body[position + 1 : position + 17]
        total = sum(counts)
        symbols = body[position + 17 : position + 17 + total]
        (reader.ac if kind else reader.dc)[number] = code_table(counts, symbols)
        position += 17 + total


def read_frame(reader: Reader, body: bytes, path: Path | str) -> None:
    depth, reader.height, reader.width, count = struct.unpack_from(">BHHB", body)
    if depth != 8:
        raise UnreadableFileError(path, f"it has {depth} bits per value", "expected 8")
    if count not in (1, 3):
        raise ShapeError(
            f"'{path}'", (count, reader.height, reader.width),
            "a JPEG with 1 or 3 colour planes; convert CMYK to RGB first, without saving as JPEG",
        )  # fmt: skip
    if not reader.height or not reader.width:
        raise EndOfData
    reader.components = [
        Component(body[i], body[i + 1] >> 4, body[i + 1] & 15, body[i + 2])
        for i in range(6, 6 + 3 * count, 3)
    ]
    if not all(1 <= part.h <= 4 and 1 <= part.v <= 4 for part in reader.components):
        raise EndOfData
    widest = max(part.h for part in reader.components)
    tallest = max(part.v for part in reader.components)
    if any(widest % part.h or tallest % part.v for part in reader.components):
        raise UnreadableFileError(path, "its colour planes have sizes that do not divide")
    columns, rows = -(-reader.width // (8 * widest)), -(-reader.height // (8 * tallest))
    reader.units = columns, rows
    for part in reader.components:
        part.columns = blocks(reader.width * part.h, widest)
        part.rows = blocks(reader.height * part.v, tallest)
        part.stride = columns * part.h
        part.coefficients = array("h", bytes(2 * 64 * part.stride * rows * part.v))


def blocks(samples: int, factor: int) -> int:
    """Blocks that hold ``samples``/``factor`` samples, both rounded up."""
    side = -(-samples // factor)
    return -(-side // 8)


def read_scan(reader: Reader, body: bytes, tail: bytes) -> None:
    count = body[0]
    by_identifier = {part.identifier: part for part in reader.components}
    chosen = [body[1 + 2 * i : 3 + 2 * i] for i in range(count)]
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    scan = Scan(
        components=[by_identifier[number] for number, _ in chosen],
        dc=[reader.dc.get(tables >> 4) for _, tables in chosen],
        ac=[reader.ac.get(tables & 15) for _, tables in chosen],
        first=first, last=last, high=bits >> 4, low=bits & 15,
        restart=reader.restart, units=reader.units, progressive=reader.progressive,
    )  # fmt: skip
    decode_scan(scan, pieces(tail))
    reader.scans += 1


def pieces(tail: bytes) -> list[bytes]:
    """Splits entropy-coded data at restart markers and takes the stuffing out."""
    found, start, position = [], 0, 0
    while True:
        position = tail.find(b"\xff", position)
        if position < 0 or position + 1 >= len(tail):
            break
        if 0xD0 <= tail[position + 1] <= 0xD7:
            found.append(tail[start:position])
            start = position + 2
        position += 2
    found.append(tail[start:])
    return [piece.replace(b"\xff\x00", b"\xff") for piece in found]


def plane(reader: Reader, part: Component) -> Plane:
    widest = max(other.h for other in reader.components)
    tallest = max(other.v for other in reader.components)
    values = np.frombuffer(part.coefficients, dtype=np.int16).reshape(-1, part.stride, 8, 8)
    return Plane(
        quantised=torch.from_numpy(values[: part.rows, : part.columns].copy()),
        table=reader.tables[part.quantiser],
        vertical=tallest // part.v,
        horizontal=widest // part.h,
    )


def colour(reader: Reader) -> str:
    """Which colours the planes are, by the rules that every decoder follows."""
    if len(reader.components) == 1:
        return "grey"
    if reader.adobe is not None and not reader.jfif:
        return "ycbcr" if reader.adobe else "rgb"
    names = bytes(part.identifier for part in reader.components)
    return "rgb" if names == b"RGB" and not reader.jfif else "ycbcr"
