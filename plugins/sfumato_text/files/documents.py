"""A damaged text, wherever it comes from.

A ``Document`` is the text that can be read, and what is known about the rest: gaps between its
characters, how sure a reader was of each, and what it may be instead. It also knows where each
character stands in its file, so that a file can be written again with some of them changed and
every other byte as it was.

As numbers a document is a row of Unicode code points. A gap is ``LOST`` once for every character
that it has at least, followed by ``OPEN`` if it may have more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.signals import Signal
from sfumato_text.files.reading import place

__all__ = [
    "LOST",
    "OPEN",
    "Document",
    "Gap",
    "Slot",
    "Source",
    "Variant",
    "codes_of",
    "contiguous",
    "document_of",
    "signal_of",
    "text_of",
]

LOST = -1
OPEN = -2
Span = tuple[int, int]


@dataclass(frozen=True)
class Gap:
    """Characters that are lost between two that are not.

    Args:
        start: The gap lies before ``text[start]``.
        minimum: Fewest characters that it has.
        maximum: Most characters; ``None`` if nobody knows.
        asked: Whether it is to be filled, or only known to be there.
        span: Its marker in the source, to be replaced by what fills it.
    """

    start: int
    minimum: int = 1
    maximum: int | None = None
    asked: bool = True
    span: Span | None = None

    @property
    def fixed(self) -> bool:
        """Whether its length is known."""
        return self.minimum == self.maximum


@dataclass(frozen=True)
class Variant:
    """Another reading of ``text[start:end]``, with the confidence its reader gave it, if any."""

    start: int
    end: int
    text: str
    confidence: float | None = None


@dataclass(frozen=True, eq=False)
class Slot:
    """A place of the source that holds some consecutive characters of the text.

    Args:
        start: Which character is its first.
        spans: First and last + 1 position in the source of every character, ``[n, 2]``; each
            begins where the one before it ends.
        kind: How text is written there: "plain", "xml", "attribute", "json", "cell" or "bare".
        layer: Slots of one layer do not overlap; another layer repeats the same text, as a line
            that repeats its words.
    """

    start: int
    spans: NDArray[np.int64]
    kind: str = "plain"
    layer: int = 0

    @property
    def end(self) -> int:
        """After its last character."""
        return self.start + len(self.spans)


def contiguous(slot: Slot) -> Iterator[Slot]:
    """A slot cut where something else, such as a tag, stands between its characters."""
    spans = slot.spans
    cuts = [0, *(np.flatnonzero(spans[:-1, 1] != spans[1:, 0]) + 1).tolist(), len(spans)]
    for low, high in itertools.pairwise(cuts):
        if low < high:
            yield replace(slot, start=slot.start + low, spans=spans[low:high])


@dataclass(frozen=True)
class Source:
    """The file that a document was read from, decoded.

    Args:
        text: All of it, markup included, with its own line ends.
        kind: Which format it is.
        encoding: Python's name of the encoding.
        bom: Byte-order mark.
        newline: What most of its lines end with.
        delimiter: What stands between the columns of a table.
    """

    text: str
    kind: str = "text"
    encoding: str = "utf-8"
    bom: bytes = b""
    newline: str = "\n"
    delimiter: str = ""


@dataclass(frozen=True, eq=False)
class Document:
    """What is left of a text.

    Args:
        text: The characters that can be read; gaps take no place in it.
        gaps: What is missing, in order.
        confidence: Chance that each character was read rightly, ``[len(text)]``; NaN where nobody
            said; ``None`` if nobody said anywhere.
        variants: Other readings.
        records: Ranges of the text that have nothing to do with each other, as lines of a table.
        slots: Where the characters stand in the source. Those in no slot, such as the blank between
            two words that a file lists apart, cannot be changed by themselves.
        marks: Ranges of the source that mark restored text and go if marks are not wanted.
        source: The file.
        notes: What a person should be told.
    """

    text: str
    gaps: tuple[Gap, ...] = ()
    confidence: NDArray[np.float64] | None = None
    variants: tuple[Variant, ...] = ()
    records: tuple[Span, ...] = ()
    slots: tuple[Slot, ...] = field(default=(), repr=False)
    marks: tuple[Span, ...] = field(default=(), repr=False)
    source: Source | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def codes(self) -> Int[Tensor, " length"]:
        """The document as numbers."""
        text = codes_of(self.text)
        pieces, last = [], 0
        for gap in self.gaps:
            row = [LOST] * gap.minimum + ([] if gap.fixed else [OPEN])
            pieces += [text[last : gap.start], torch.tensor(row, dtype=torch.long)]
            last = gap.start
        return torch.cat([*pieces, text[last:]])

    @property
    def editable(self) -> NDArray[np.bool_]:
        """Which characters have a place in the source, ``[len(text)]``; all without a source."""
        found = np.full(len(self.text), self.source is None)
        for slot in self.slots:
            found[slot.start : slot.end] = True
        return found

    def place(self, offset: int) -> str:
        """Where a character stands, in words: in the source, with all markers and markup in it."""
        for slot in self.slots:
            if self.source is not None and slot.start <= offset < slot.end:
                return place(self.source.text, int(slot.spans[offset - slot.start, 0]))
        return place(self.text, offset)

    def hide(self, spans: Iterable[Span], *, known: bool = True) -> Document:
        """The same text with some ranges lost; it no longer belongs to a file.

        Args:
            spans: Ranges of the text; they may overlap no other and no gap.
            known: Whether the lengths of the gaps are known.

        Raises:
            InvalidOptionError: If a range is empty or overlaps another.
        """
        kept, gaps, last = [], list(self.gaps), 0
        shift: list[Span] = []
        for start, end in sorted(spans):
            if not last <= start < end <= len(self.text):
                raise InvalidOptionError(
                    "gaps", f"{start} to {end} is empty, overlaps another, or leaves the text",
                    f"use ranges apart from each other in 0 to {len(self.text)}",
                )  # fmt: skip
            kept.append(self.text[last:start])
            gaps.append(Gap(start, end - start if known else 1, end - start if known else None))
            shift.append((start, end - start))
            last = end
        kept.append(self.text[last:])

        def moved(gap: Gap) -> Gap:
            return replace(gap, start=gap.start - sum(n for s, n in shift if s < gap.start))

        ordered = sorted(gaps, key=lambda gap: gap.start)
        return Document("".join(kept), tuple(moved(gap) for gap in ordered))

    def part(self, start: int, end: int) -> Document:
        """``text[start:end]`` with what is known of it; it no longer belongs to a file.

        Characters that cannot be changed by themselves are certain in it.
        """
        own = None if self.confidence is None else self.confidence[start:end]
        inside = [v for v in self.variants if start <= v.start and v.end <= end]
        moved = tuple(replace(v, start=v.start - start, end=v.end - start) for v in inside)
        if own is not None or self.source is not None:
            told = np.full(end - start, np.nan) if own is None else own.copy()
            own = np.where(self.editable[start:end], told, 1.0)
        gaps = tuple(
            replace(g, start=g.start - start, span=None)
            for g in self.gaps
            if start <= g.start <= end
        )
        return Document(self.text[start:end], gaps, own, moved)

    @classmethod
    def from_codes(cls, codes: Int[Tensor, " length"]) -> Document:
        """Reads numbers; the inverse of ``codes`` but for the largest length of open gaps."""
        values = codes.tolist()
        text: list[str] = []
        gaps: list[Gap] = []
        place = 0
        while place < len(values):
            if values[place] >= 0:
                text.append(chr(values[place]))
                place += 1
                continue
            end = place
            while end < len(values) and values[end] < 0:
                end += 1
            run = values[place:end]
            lost = run.count(LOST)
            gaps.append(Gap(len(text), lost, lost if OPEN not in run else None))
            place = end
        return cls("".join(text), tuple(gaps))


def codes_of(text: str) -> Int[Tensor, " length"]:
    """Unicode code points of a text."""
    # JSON may hold lone surrogates
    units = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    return torch.from_numpy(units.astype(np.int64))


def text_of(codes: Int[Tensor, " length"]) -> str:
    """The characters of code points; negative ones, which stand for nothing read, are left out."""
    values = codes.detach().cpu().numpy()
    return values[values >= 0].astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def document_of(signal: Signal) -> Document:
    """The document that a signal holds, be it read from a file or made of numbers only."""
    known = signal.meta.get("document")
    if isinstance(known, Document) and torch.equal(known.codes, signal.data.cpu().long()):
        return known
    return Document.from_codes(signal.data.long())


def signal_of(document: Document, path: Path | None = None) -> Signal:
    """A document as a signal."""
    return Signal(document.codes, {"document": document}, path)
