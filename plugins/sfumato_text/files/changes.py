"""What was changed in a document, and how to find it by comparing two texts.

Where all that was read stands in the new text unchanged, what lies between fills the gaps.
Otherwise the texts are aligned, and what was put in at a gap fills it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sfumato.errors import InvalidOptionError
from sfumato_text.alignments import align, distance
from sfumato_text.files.documents import Document

__all__ = ["Change", "compared"]

LONGEST = 20_000
"""Longest text whose words are compared one by one without lines to go by."""

LARGEST = 2_000
"""Longest filling of a gap of unknown length that is looked for in a restored text."""


@dataclass(frozen=True)
class Change:
    """``text[start:end]`` of a document becomes ``text``.

    Args:
        start: First character that is replaced.
        end: After the last; equal to ``start`` where something is put in.
        text: What stands there now.
        probabilities: How likely each of its characters is right; empty if unknown.
        alternatives: Other texts for the same range with their probabilities, best first.
        gap: Number of the gap that it fills, if it does.
    """

    start: int
    end: int
    text: str
    probabilities: tuple[float, ...] = ()
    alternatives: tuple[tuple[str, float], ...] = ()
    gap: int | None = None

    def __post_init__(self) -> None:
        if self.probabilities and len(self.probabilities) != len(self.text):
            raise InvalidOptionError(
                "restored text", f"{len(self.probabilities)} probabilities for '{self.text}'",
                f"give {len(self.text)}, one per character",
            )  # fmt: skip

    @property
    def probability(self) -> float | None:
        """How likely the least certain of its characters is right."""
        return min(self.probabilities, default=None)


def compared(document: Document, text: str) -> list[Change]:
    """The changes that make ``text`` of a document."""
    found = fillings(document, text)
    return differences(document, text) if found is None else found


def fillings(document: Document, text: str) -> list[Change] | None:
    """What fills each gap if nothing else has changed; ``None`` if something has."""
    if not document.gaps:
        return [] if text == document.text else None
    pattern, last = [], 0
    for gap in document.gaps:
        most = LARGEST if gap.maximum is None else gap.maximum
        pattern += [re.escape(document.text[last : gap.start]), f"(.{{{gap.minimum},{most}}}?)"]
        last = gap.start
    pattern.append(re.escape(document.text[last:]))
    match = re.compile("".join(pattern), re.DOTALL).fullmatch(text)
    if match is None:
        return None
    return [
        Change(gap.start, gap.start, fill, gap=number)
        for number, (gap, fill) in enumerate(zip(document.gaps, match.groups(), strict=True))
    ]


def in_step(before: str, after: str) -> Iterator[tuple[int, str, str]]:
    """Pieces that became each other: place, before, after.

    Line by line if there are as many lines, so that none moves to another; then word by word if
    blanks are as they were and that costs no more edits.
    """
    for sign in (r"(\n+)", r"(\s+)"):
        old, new = re.split(sign, before), re.split(sign, after)
        if len(old) == 1 or old[1::2] != new[1::2]:
            continue
        pieces = list(zip(old, new, strict=True))
        if "s" in sign and dearer(pieces, before, after):
            continue
        place = 0
        for a, b in pieces:
            if a != b:
                yield from ((place + at, x, y) for at, x, y in in_step(a, b))
            place += len(a)
        return
    yield 0, before, after


def dearer(pieces: list[tuple[str, str]], before: str, after: str) -> bool:
    """Whether changing piece by piece costs more edits than changing the whole; true if unsure."""
    if len(before) > LONGEST:
        return True
    return sum(distance(a, b) for a, b in pieces) > distance(before, after)


def differences(document: Document, text: str) -> list[Change]:
    """Unequal blocks of an alignment; one that begins or ends at a gap fills it."""
    found: list[Change] = []
    if not document.gaps:
        return [
            Change(at + block.start, at + block.end, after[block.first : block.last])
            for at, before, after in in_step(document.text, text)
            for block in align(before, after)
            if not block.same
        ]
    free = {gap.start: number for number, gap in reversed(list(enumerate(document.gaps)))}
    for block in align(document.text, text):
        if block.same:
            continue
        start, end, new = block.start, block.end, text[block.first : block.last]
        gap_at = next((at for at in range(start, end + 1) if at in free), None)
        if gap_at is None:
            found.append(Change(start, end, new))
            continue
        before, after = gap_at - start, end - gap_at
        after = min(after, max(len(new) - before, 0))
        head, middle, tail = new[:before], new[before : len(new) - after], new[len(new) - after :]
        if start < gap_at:
            found.append(Change(start, gap_at, head))
        found.append(Change(gap_at, gap_at, middle, gap=free.pop(gap_at)))
        if gap_at < end:
            found.append(Change(gap_at, end, tail))
    return found
