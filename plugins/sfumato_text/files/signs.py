"""Reading a text sign by sign: what is text, what marks a gap, what is neither."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import UnreadableFileError
from sfumato_text.files.documents import Document, Gap, Slot, Span, contiguous
from sfumato_text.files.reading import place

__all__ = ["UNCLEAR", "Reading"]

UNCLEAR = 0.7
"""Confidence given to letters that an editor marks as hard to read; nobody has measured it."""


@dataclass
class Reading:
    """What has been made of a text so far."""

    document: Document
    path: Path | None
    kept: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    unclear: list[int] = field(default_factory=list)
    wide: dict[int, int] = field(default_factory=dict)
    """Characters of the new text that reach on to a later one of the old: a letter and its dot."""
    gaps: list[Gap] = field(default_factory=list)
    marks: list[Span] = field(default_factory=list)
    gap_end: int = -1
    """Where the last gap's marker ends in the old text."""

    def source_span(self, start: int, end: int) -> Span | None:
        """Where a range of the marked text stands in its file."""
        for slot in self.document.slots:
            if slot.start <= start and end <= slot.end:
                low, high = start - slot.start, end - 1 - slot.start
                return int(slot.spans[low, 0]), int(slot.spans[high, 1])
        return None

    def keep(self, start: int, end: int) -> None:
        """Takes characters as text."""
        for at in range(start, end):
            self.kept.append(at)
            self.text.append(self.document.text[at])

    def lose(self, start: int, end: int, low: int, high: int | None, asked: bool = True) -> None:
        """Takes characters as the marker of a gap; one beside another makes them one."""
        span = self.source_span(start, end)
        last = self.gaps[-1] if self.gaps and self.gap_end == start else None
        self.gap_end = end
        if last is None or last.asked != asked:
            self.gaps.append(Gap(len(self.text), low, high, asked, span))
            return
        most = None if last.maximum is None or high is None else last.maximum + high
        both = (last.span[0], span[1]) if last.span and span else None
        self.gaps[-1] = replace(last, minimum=last.minimum + low, maximum=most, span=both)

    def mark(self, at: int) -> None:
        """Takes a character as a sign that is no text."""
        span = self.source_span(at, at + 1)
        if span is not None:
            self.marks.append(span)

    def refuse(self, at: int, why: str, fix: str) -> UnreadableFileError:
        """The error for a sign at a place."""
        where = place(self.document.text, at)
        return UnreadableFileError(self.path or "the text", f"{where}: {why}", fix)

    def done(self) -> Document:
        """The document without its signs."""
        old = self.document
        kept = np.array(self.kept, dtype=np.int64)
        confidence = None if old.confidence is None else old.confidence[kept]
        if self.unclear:
            confidence = np.full(len(kept), np.nan) if confidence is None else confidence
            confidence[self.unclear] = UNCLEAR
        return replace(
            old,
            text="".join(self.text),
            gaps=tuple(self.gaps),
            confidence=confidence,
            slots=tuple(moved_slots(old.slots, kept, self.wide)),
            records=tuple(
                (int(np.searchsorted(kept, a)), int(np.searchsorted(kept, b)))
                for a, b in old.records
            ),
            variants=(),
            marks=(*old.marks, *self.marks),
        )


def moved_slots(
    slots: tuple[Slot, ...], kept: NDArray[np.int64], wide: dict[int, int]
) -> Iterator[Slot]:
    """Slots of the characters that are left, cut where something between them was taken out."""
    for slot in slots:
        first, last = (int(k) for k in np.searchsorted(kept, [slot.start, slot.end]))
        spans = slot.spans[kept[first:last] - slot.start]
        for at in (at for at in wide if first <= at < last):
            spans[at - first, 1] = slot.spans[wide[at] - slot.start, 1]
        yield from contiguous(replace(slot, start=first, spans=spans))
