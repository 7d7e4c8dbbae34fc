"""What many draws of a text make of one that was read: a vote, place by place.

Each draw is aligned with what was read. Where any of them differs, the places that overlap, or lie
close together in a word, are one place; its readings are counted over all draws. So each place gets
the reading that is probable there, however many others are in doubt (Mangu, Brill & Stolcke, 2000).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sfumato_text.alignments import Block, align

__all__ = ["NEAR", "Vote", "reading", "votes"]

NEAR = 2
"""Differences with no more letters between them, and no blank, are one."""


@dataclass(frozen=True)
class Vote:
    """A place of what was read, with its readings.

    Args:
        start: First character.
        end: After the last.
        readings: Texts and their shares of the draws, best first.
    """

    start: int
    end: int
    readings: tuple[tuple[str, float], ...]

    @property
    def best(self) -> str:
        """The reading of most draws."""
        return self.readings[0][0]

    @property
    def odds(self) -> float:
        """Its share."""
        return self.readings[0][1]


def votes(own: str, texts: Sequence[str]) -> list[Vote]:
    """The places where draws differ from what was read, in order.

    Args:
        own: What was read.
        texts: Draws of what stood there.
    """
    aligned = [(text, align(own, text)) for text in texts]
    spans = sorted({
        (block.start, block.end) for _, blocks in aligned for block in blocks if not block.same
    })  # fmt: skip
    found = []
    for start, end in together(spans, own):
        place = Block(False, start, end, 0, 0)
        counts = Counter(reading(blocks, text, place) for text, blocks in aligned)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        found.append(Vote(start, end, tuple((text, n / len(texts)) for text, n in ranked)))
    return found


def together(spans: Sequence[tuple[int, int]], own: str) -> list[tuple[int, int]]:
    """Ranges that overlap, or are close to each other inside a word, as one."""
    found: list[tuple[int, int]] = []
    for start, end in spans:
        last = found[-1][1] if found else -1
        between = own[last:start]
        near = len(between) <= NEAR and not any(map(str.isspace, between))
        if found and (start <= last or near):
            found[-1] = (found[-1][0], max(last, end))
        else:
            found.append((start, end))
    return found


def reading(blocks: Sequence[Block], text: str, place: Block) -> str:
    """What a place of the input became in ``text``, with all that was put in at its ends.

    Args:
        blocks: The alignment of the input with ``text``.
        text: Another reading.
        place: A range of the input.
    """
    first = len(text) if blocks else 0
    last = 0
    for block in blocks:
        if block.start <= place.start <= block.end:
            inside = place.start - block.start if block.same else 0
            first = min(first, block.first + inside)
        if block.start <= place.end <= block.end:
            inside = block.end - place.end if block.same else 0
            last = max(last, block.last - inside)
    return text[first:last]
