"""Lines of words as readers of pages report them, with how sure they were.

Words are set apart by a blank, lines by a line end, blocks by an empty line; none of these stands
in the file as a character, so none can be changed alone. A file may say the same text again for a
glyph, a line or a block: each is a layer of its own, and all are kept in step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import UnreadableFileError
from sfumato_text.files.documents import Document, Slot, Source, Variant, contiguous
from sfumato_text.files.markup import Element
from sfumato_text.files.reading import place

__all__ = ["File", "Layout", "Reading", "stripped"]

WORDS, LINES, BLOCKS, GLYPHS = range(4)


@dataclass(frozen=True, eq=False)
class Reading:
    """A piece of text as a file has it.

    Args:
        text: What it says.
        spans: Where each character stands, ``[n, 2]``.
        kind: How it is written there.
        confidence: One number, one for each character, or none.
        variants: Other readings of the whole, with confidences.
    """

    text: str
    spans: NDArray[np.int64]
    kind: str
    confidence: float | Sequence[float] | None = None
    variants: tuple[tuple[str, float | None], ...] = ()


@dataclass
class Layout:
    """The text of a page as it grows."""

    text: list[str] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    variants: list[Variant] = field(default_factory=list)
    line_start: int = 0
    block_start: int = 0
    pending: str = ""

    def word(self, word: Reading, glyphs: Sequence[Reading] = (), *, glue: bool = False) -> None:
        """A word after those of its line; with ``glue`` right after the last."""
        if not word.text:
            return
        line_begins = len(self.text) == self.line_start and not self.pending
        self.flush("" if glue or line_begins else " ")
        start = len(self.text)
        self.slots += contiguous(Slot(start, word.spans, word.kind))
        self.text += word.text
        self.confidence += spread(word.confidence, len(word.text))
        self.variants += [
            Variant(start, start + len(word.text), text, sure) for text, sure in word.variants
        ]
        if "".join(glyph.text for glyph in glyphs) == word.text:
            self.glyphs(start, glyphs)

    def flush(self, blank: str) -> None:
        """Writes what sets the next word apart from the last."""
        sign, self.pending = self.pending or blank, ""
        if sign and self.text:
            self.text += sign
            self.confidence += [np.nan] * len(sign)
        if "\n" in sign:
            self.line_start = len(self.text)
            if len(sign) > 1:
                self.block_start = len(self.text)

    def glyphs(self, start: int, glyphs: Sequence[Reading]) -> None:
        """The glyphs of a word that begins at ``start``."""
        for glyph in glyphs:
            end = start + len(glyph.text)
            if len(glyph.spans):
                self.slots += contiguous(Slot(start, glyph.spans, glyph.kind, GLYPHS))
            if glyph.confidence is not None:
                self.confidence[start:end] = spread(glyph.confidence, end - start)
            self.variants += [Variant(start, end, text, sure) for text, sure in glyph.variants]
            start = end

    def end_line(self, repeated: Reading | None = None) -> None:
        """Ends a line; ``repeated`` is what the file says of the line as a whole."""
        self.repeat(self.line_start, repeated, LINES)
        if len(self.text) > self.line_start and not self.pending:
            self.pending = "\n"

    def end_block(self, repeated: Reading | None = None) -> None:
        """Ends a block of lines."""
        self.repeat(self.block_start, repeated, BLOCKS)
        if self.text:
            self.pending = "\n\n"

    def repeat(self, start: int, repeated: Reading | None, layer: int) -> None:
        """A slot for text that was said before, if it is the same."""
        if repeated is None or self.pending == "\n\n" or (self.pending and layer == LINES):
            return
        if repeated.text and repeated.text == "".join(self.text[start:]):
            self.slots += contiguous(Slot(start, repeated.spans, repeated.kind, layer))

    def document(self, source: Source, path: Path) -> Document:
        """The finished document.

        Raises:
            UnreadableFileError: If there was no word.
        """
        if not self.text:
            raise UnreadableFileError(path, "no words have been recognised in it")
        confidence = np.array(self.confidence, dtype=np.float64)
        return Document(
            "".join(self.text),
            confidence=None if np.isnan(confidence).all() else confidence,
            variants=tuple(self.variants),
            slots=tuple(self.slots),
            source=source,
        )


def spread(confidence: float | Sequence[float] | None, count: int) -> list[float]:
    """One number for each character."""
    if confidence is None:
        return [np.nan] * count
    if isinstance(confidence, (int, float)):
        return [float(confidence)] * count
    # a reader that counts characters otherwise than Unicode does tells nothing about one of them
    return list(confidence) if len(confidence) == count else [float(np.mean(confidence))] * count


@dataclass(frozen=True)
class File:
    """What elements are read from.

    Args:
        source: The decoded file.
        path: Named in errors.
    """

    source: str
    path: Path

    def sure(self, element: Element, value: str, scale: float, what: str) -> float:
        """A confidence in [0, 1] from a number between 0 and ``scale``.

        Raises:
            UnreadableFileError: If it is no such number; names the element's place.
        """
        try:
            number = float(value) / scale
        except ValueError:
            number = np.nan
        if not 0 <= number <= 1:
            # places are counted only here: counting takes as long as the file is
            at = place(self.source, element.start)
            raise UnreadableFileError(
                self.path, f"{at}: {what}: the confidence '{value}' is not between 0 and {scale:g}"
            )
        return number


def stripped(text: str, spans: NDArray[np.int64]) -> tuple[str, NDArray[np.int64]]:
    """Text without blanks around it."""
    first = len(text) - len(text.lstrip())
    last = len(text.rstrip())
    return (text[first:last], spans[first:last]) if first < last else ("", spans[:0])
