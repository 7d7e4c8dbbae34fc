"""Which characters of one text became which of another.

The fewest substitutions, insertions and deletions that turn a into b (Levenshtein, 1966), as blocks
that cover both. Long texts are aligned a window at a time: a window's alignment is trusted up to
its last long run of equal characters, and the next window begins there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rapidfuzz.distance import Levenshtein

__all__ = ["Block", "align", "distance", "pairs"]

WINDOW = 4096
ANCHOR = 12
"""A run of equal characters that is long enough to end a window in."""


class Block(NamedTuple):
    """``a[start:end]`` became ``b[first:last]``; ``same`` if nothing changed."""

    same: bool
    start: int
    end: int
    first: int
    last: int


def align(a: Sequence[str], b: Sequence[str]) -> list[Block]:
    """Blocks that cover both texts, in order; equal and unequal ones take turns.

    Args:
        a: A text, or the pieces of one.
        b: Another.
    """
    return list(merged(windows(a, b)))


def windows(a: Sequence[str], b: Sequence[str]) -> Iterator[Block]:
    """Blocks of one window after the other."""
    i = j = 0
    while i < len(a) or j < len(b):
        part_a, part_b = a[i : i + WINDOW], b[j : j + WINDOW]
        blocks = [
            Block(op.tag == "equal", op.src_start, op.src_end, op.dest_start, op.dest_end)
            for op in Levenshtein.opcodes(part_a, part_b)
        ]
        if i + len(part_a) < len(a) or j + len(part_b) < len(b):
            blocks = trusted(blocks)
        for block in blocks:
            yield Block(block.same, block.start + i, block.end + i, block.first + j, block.last + j)
        i, j = i + blocks[-1].end, j + blocks[-1].last


def trusted(blocks: list[Block]) -> list[Block]:
    """What a window that ends before its texts do can be sure of; at least half of it."""
    for count in range(len(blocks), 0, -1):
        block = blocks[count - 1]
        if block.same and block.end - block.start >= ANCHOR and block.end > WINDOW // 2:
            middle = (block.end - block.start) // 2
            cut = block._replace(end=block.end - middle, last=block.last - middle)
            return [*blocks[: count - 1], cut]
    return blocks


def merged(blocks: Iterator[Block]) -> Iterator[Block]:
    """Neighbours of one kind become one block."""
    held: Block | None = None
    for block in blocks:
        if held is not None and held.same == block.same:
            held = held._replace(end=block.end, last=block.last)
            continue
        if held is not None:
            yield held
        held = block
    if held is not None:
        yield held


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Number of substitutions, insertions and deletions."""
    return Levenshtein.distance(a, b)


def pairs(a: Sequence[str], b: Sequence[str]) -> Iterator[tuple[int | None, int | None]]:
    """Places that became each other; ``None`` where one was inserted or deleted."""
    for block in align(a, b):
        if block.same:
            yield from zip(
                range(block.start, block.end), range(block.first, block.last), strict=True
            )
            continue
        yield from inner(a, b, block)


def inner(
    a: Sequence[str], b: Sequence[str], block: Block
) -> Iterator[tuple[int | None, int | None]]:
    """Pairs of an unequal block, by the operations of the alignment itself."""
    part_a, part_b = a[block.start : block.end], b[block.first : block.last]
    for op in Levenshtein.opcodes(part_a, part_b):
        count = max(op.src_end - op.src_start, op.dest_end - op.dest_start)
        for k in range(count):
            i, j = op.src_start + k, op.dest_start + k
            yield (
                block.start + i if i < op.src_end else None,
                block.first + j if j < op.dest_end else None,
            )
