"""Reading a JPEG file's bits: Huffman codes by table look-up (ITU-T T.81, annexes C and F.2.2)."""

from __future__ import annotations

from array import array
from itertools import product

import numpy as np

__all__ = ["ZIGZAG", "Bits", "EndOfData", "code_table"]

# position in the 8×8 block (row-major) of the k-th coefficient of a scan (T.81, figure A.6)
ZIGZAG = tuple(
    8 * i + j
    for i, j in sorted(
        product(range(8), repeat=2), key=lambda p: (sum(p), p[0] if sum(p) % 2 else p[1])
    )
)


class EndOfData(Exception):  # noqa: N818 - a signal between these modules, not an error for users
    """The scan wants more bits than there are, or finds a code that does not exist."""


def code_table(counts: bytes, symbols: bytes) -> array[int]:
    """For every 16 bits that may come next: code length × 256 + symbol; 0 if no code fits."""
    table = array("H", bytes(2 << 16))
    code = position = 0
    for length, count in enumerate(counts, start=1):
        for _ in range(count):
            low, high = code << (16 - length), (code + 1) << (16 - length)
            if high > 1 << 16:
                raise EndOfData
            entry = length << 8 | symbols[position]
            table[low:high] = array("H", [entry]) * (high - low)
            position, code = position + 1, code + 1
        code <<= 1
    return table


class Bits:
    """A bit reader: the 64 bits from any byte on are looked up, not assembled."""

    def __init__(self, data: bytes) -> None:
        padded = np.frombuffer(data + bytes(16), dtype=np.uint8).astype(np.uint64)
        count = len(data) + 8
        words = np.zeros(count, dtype=np.uint64)
        for k in range(8):
            words |= padded[k : k + count] << np.uint64(56 - 8 * k)
        self.words = array("Q", words.tobytes())
        self.end = 8 * len(data)
        self.position = 0

    def take(self, count: int) -> int:
        """The next ``count`` (0 to 16) bits."""
        p = self.position
        if p > self.end:
            raise EndOfData
        self.position = p + count
        return (self.words[p >> 3] >> (64 - count - (p & 7))) & ((1 << count) - 1)

    def symbol(self, table: array[int]) -> int:
        """The next Huffman symbol."""
        p = self.position
        if p > self.end:
            raise EndOfData
        entry = table[(self.words[p >> 3] >> (48 - (p & 7))) & 0xFFFF]
        if not entry:
            raise EndOfData
        self.position = p + (entry >> 8)
        return entry & 255

    def signed(self, count: int) -> int:
        """The next ``count`` bits as a signed number (T.81, F.2.2.1: EXTEND)."""
        value = self.take(count)
        return value if not count or value >> (count - 1) else value - (1 << count) + 1
