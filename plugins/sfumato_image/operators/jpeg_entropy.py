"""The entropy-coded part of a JPEG file: Huffman codes to quantised DCT coefficients.

Written from ITU-T T.81: baseline and extended sequential scans (annex F.2) and progressive ones
(annex G.2: spectral selection and successive approximation). Pixels are never computed; the
integers found here are exactly those that the encoder wrote.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sfumato_image.operators.jpeg_bits import ZIGZAG, Bits, EndOfData

__all__ = ["Component", "Scan", "decode_scan"]

Step = Callable[[int], None]


@dataclass
class Component:
    """One colour plane while it is read.

    Args:
        identifier: Its number in the file.
        h: Horizontal sampling factor.
        v: Vertical sampling factor.
        quantiser: Number of its quantisation table.
        rows: Blocks that hold picture, vertically.
        columns: Horizontally.
        stride: Blocks in a row of storage, padded to whole interleaved units.
        coefficients: Row-major 8×8 blocks of quantised coefficients.
    """

    identifier: int
    h: int
    v: int
    quantiser: int
    rows: int = 0
    columns: int = 0
    stride: int = 0
    coefficients: array[int] = field(default_factory=lambda: array("h"))


@dataclass(frozen=True)
class Scan:
    """What a start-of-scan header says (T.81, B.2.3).

    Args:
        components: Components in the scan.
        dc: Huffman table of the first coefficient, for each component.
        ac: Huffman table of the others.
        first: First coefficient of the band.
        last: Last one.
        high: Bit position of the previous pass; 0 in a first pass.
        low: Bit position of this pass.
        restart: Units between restart markers; 0 for none.
        units: Interleaved units (columns, rows) of the picture.
        progressive: Whether the frame is progressive.
    """

    components: Sequence[Component]
    dc: Sequence[array[int] | None]
    ac: Sequence[array[int] | None]
    first: int
    last: int
    high: int
    low: int
    restart: int
    units: tuple[int, int]
    progressive: bool


def decode_scan(scan: Scan, segments: Sequence[bytes]) -> None:
    """Adds what a scan says to its components' coefficients.

    Args:
        scan: Its header.
        segments: Entropy-coded bytes between restart markers, without stuffing.

    Raises:
        EndOfData: If the data end early or make no sense.
    """
    units = list(order(scan))
    each = scan.restart or len(units)
    for index, low in enumerate(range(0, len(units), each)):
        if index >= len(segments):
            raise EndOfData
        bits = Bits(segments[index])
        steps = list(steppers(scan, bits))
        for unit in units[low : low + each]:
            for which, block in unit:
                steps[which](block)
        if bits.position > bits.end:
            raise EndOfData


def order(scan: Scan) -> Iterator[list[tuple[int, int]]]:
    """For each unit, (component of the scan, offset of the block) in coding order."""
    if len(scan.components) == 1:  # not interleaved: only blocks that hold picture
        part = scan.components[0]
        for row in range(part.rows):
            for column in range(part.columns):
                yield [(0, 64 * (row * part.stride + column))]
        return
    for row in range(scan.units[1]):
        for column in range(scan.units[0]):
            yield [
                (which, 64 * ((row * part.v + i) * part.stride + column * part.h + j))
                for which, part in enumerate(scan.components)
                for i in range(part.v)
                for j in range(part.h)
            ]


def steppers(scan: Scan, bits: Bits) -> Iterator[Step]:
    """For each component of the scan, the function that reads one of its blocks."""
    for part, dc, ac in zip(scan.components, scan.dc, scan.ac, strict=True):
        if not scan.progressive:
            yield sequential(part.coefficients, bits, needed(dc), needed(ac))
        elif scan.first == 0:
            refine = scan.high > 0
            yield (
                dc_refinement(part.coefficients, bits, scan.low)
                if refine
                else dc_first(part.coefficients, bits, needed(dc), scan.low)
            )
        elif scan.high == 0:
            yield ac_first(part.coefficients, bits, needed(ac), scan)
        else:
            yield ac_refinement(part.coefficients, bits, needed(ac), scan)


def needed(table: array[int] | None) -> array[int]:
    if table is None:
        raise EndOfData
    return table


def sequential(out: array[int], bits: Bits, dc: array[int], ac: array[int]) -> Step:
    """All 64 coefficients of a block (F.2.2)."""
    previous = 0
    words, end = bits.words, bits.end

    def step(block: int) -> None:
        nonlocal previous
        previous += bits.signed(bits.symbol(dc))
        out[block] = previous
        p, k = bits.position, 1
        while k < 64:
            if p > end:
                raise EndOfData
            entry = ac[(words[p >> 3] >> (48 - (p & 7))) & 0xFFFF]
            if not entry:
                raise EndOfData
            p += entry >> 8
            size = entry & 15
            if not size:
                if entry & 0xF0 != 0xF0:
                    break
                k += 16
                continue
            k += (entry >> 4) & 15
            value = (words[p >> 3] >> (64 - size - (p & 7))) & ((1 << size) - 1)
            p += size
            if k > 63:
                raise EndOfData
            out[block + ZIGZAG[k]] = value if value >> (size - 1) else value - (1 << size) + 1
            k += 1
        bits.position = p

    return step


def dc_first(out: array[int], bits: Bits, dc: array[int], low: int) -> Step:
    previous = 0

    def step(block: int) -> None:
        nonlocal previous
        previous += bits.signed(bits.symbol(dc))
        out[block] = previous << low

    return step


def dc_refinement(out: array[int], bits: Bits, low: int) -> Step:
    def step(block: int) -> None:
        out[block] |= bits.take(1) << low

    return step


def ac_first(out: array[int], bits: Bits, ac: array[int], scan: Scan) -> Step:
    """First pass over a band; a run of blocks may be empty (G.1.2.2)."""
    run = 0

    def step(block: int) -> None:
        nonlocal run
        if run:
            run -= 1
            return
        k = scan.first
        while k <= scan.last:
            symbol = bits.symbol(ac)
            skip, size = symbol >> 4, symbol & 15
            if size:
                k += skip
                if k > 63:
                    raise EndOfData
                out[block + ZIGZAG[k]] = bits.signed(size) * (1 << scan.low)
                k += 1
            elif skip == 15:
                k += 16
            else:
                run = (1 << skip) - 1 + bits.take(skip)
                return

    return step


def ac_refinement(out: array[int], bits: Bits, ac: array[int], scan: Scan) -> Step:
    """One more bit of what is not zero, and coefficients that become ±1 in it (G.1.2.3)."""
    run, one = 0, 1 << scan.low

    def correct(place: int) -> None:
        value = out[place]
        if bits.take(1) and not abs(value) & one:
            out[place] = value + one if value > 0 else value - one

    def step(block: int) -> None:
        nonlocal run
        k = scan.first
        while k <= scan.last and not run:
            symbol = bits.symbol(ac)
            skip, size = symbol >> 4, symbol & 15
            fresh = 0
            if size:
                fresh = one if bits.take(1) else -one
            elif skip < 15:
                run = (1 << skip) + bits.take(skip)
                break
            while k <= scan.last:
                place = block + ZIGZAG[k]
                k += 1
                if out[place]:
                    correct(place)
                elif skip == 0:
                    out[place] = fresh
                    break
                else:
                    skip -= 1
        if run:
            for position in range(k, scan.last + 1):
                place = block + ZIGZAG[position]
                if out[place]:
                    correct(place)
            run -= 1

    return step
