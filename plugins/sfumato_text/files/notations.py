"""Signs that people write into plain text where something is missing.

Leiden (van Groningen, 1932), as papyrologists and epigraphers type it:

    [...]  [. . .]          one lost character for every dot
    [.5.]  [c. 5]  [5-7]    so many; about so many (a third more or less); from … to
    [---]  [- - -]  [–]     nobody knows how many
    [abc]  [..b..]          restored by an editor: taken as text; dots among it are lost characters
    ⟦abc⟧  ⟦...⟧            erased in antiquity: text if legible, lost characters if not
    ạ  (dot below)          a letter that is hard to read

Ithaca and Aeneas (Assael et al., 2022, 2025):

    ?                       a lost character to restore
    -                       a lost character, not asked for
    #                       a gap of unknown length

Signs that do not parse are errors with line and column.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidOptionError, UnknownNameError, UnreadableFileError
from sfumato_text.files.documents import Document, Gap, Slot, Span, contiguous
from sfumato_text.files.reading import where

__all__ = ["NOTATIONS", "UNCLEAR", "ask_gaps", "parse", "render"]

UNCLEAR = 0.7
"""Confidence given to letters that an editor marks as hard to read; nobody has measured it."""

DOT_BELOW = "\u0323"
ABOUT = r"(?:c\.|ca\.|circa|±|~)\s*"
COUNT = re.compile(
    rf"[.…·\s-]*(?P<about>{ABOUT})?(?P<low>\d+)(?:\s*[-–]\s*(?P<high>\d+))?[.…·\s-]*"
)
DASHES = re.compile(r"[-–—](?:\s*[-–—])+|—")
LONE_DASH = re.compile(r"\s*[-–]\s*")
OTHER = re.compile(r"[-–]|[^.…·–—-]+")
PLAIN = re.compile(r"[^\[\]⟦⟧]*")
DOTS = re.compile(r"[.…·](?:\s?[.…·])*")


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
        for place in range(start, end):
            self.kept.append(place)
            self.text.append(self.document.text[place])

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

    def mark(self, place: int) -> None:
        """Takes a character as a sign that is no text."""
        span = self.source_span(place, place + 1)
        if span is not None:
            self.marks.append(span)

    def refuse(self, place: int, why: str, fix: str) -> UnreadableFileError:
        """The error for a sign at a place."""
        line, column = where(self.document.text, place)
        name = self.path or "the text"
        return UnreadableFileError(name, f"line {line}, column {column}: {why}", fix)

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
        for place in (place for place in wide if first <= place < last):
            spans[place - first, 1] = slot.spans[wide[place] - slot.start, 1]
        yield from contiguous(replace(slot, start=first, spans=spans))


def parse(document: Document, notation: str, path: Path | None = None) -> Document:
    """Reads the signs of a notation in a text.

    Args:
        document: A text with signs in it, such as ``Text`` reads.
        notation: A name of ``NOTATIONS``.
        path: Named in errors.

    Raises:
        UnknownNameError: If there is no such notation.
        UnreadableFileError: If a sign does not parse; names line and column.
    """
    if notation not in NOTATIONS:
        raise UnknownNameError("notation", notation, NOTATIONS)
    reading = Reading(document, path)
    NOTATIONS[notation](reading)
    return reading.done()


def ask_gaps(document: Document, path: Path | None = None) -> None:
    """Refuses a text without gaps to fill.

    Raises:
        InvalidOptionError: If there are none.
    """
    if not any(gap.asked for gap in document.gaps):
        raise InvalidOptionError(
            str(path or "the text"), "there are no gaps in it",
            "mark each as [...] (a dot for every lost character) or [---] (length unknown)",
        )  # fmt: skip


def leiden(reading: Reading) -> None:
    """Reads Leiden signs."""
    text, place = reading.document.text, 0
    closing = {"[": "]", "⟦": "⟧"}
    opened: list[int] = []
    while place < len(text):
        sign = text[place]
        if sign in closing:
            if any(text[at] == sign for at in opened):
                raise reading.refuse(place, f"'{sign}' inside '{sign}'", "close the first one")
            opened.append(place)
            reading.mark(place)
            inside = PLAIN.match(text, place + 1)
            assert inside is not None
            bracket(reading, *inside.span())
            place = inside.end()
        elif sign in closing.values():
            if not opened or closing[text[opened[-1]]] != sign:
                raise reading.refuse(place, f"'{sign}' closes nothing", "open it or take it out")
            opened.pop()
            reading.mark(place)
            place += 1
            inside = PLAIN.match(text, place)
            assert inside is not None
            (bracket if opened else letters)(reading, *inside.span())
            place = inside.end()
        else:
            stop = PLAIN.match(text, place)
            assert stop is not None
            letters(reading, *stop.span())
            place = stop.end()
    if opened:
        sign = text[opened[-1]]
        raise reading.refuse(opened[-1], f"'{sign}' is never closed", f"add '{closing[sign]}'")


def bracket(reading: Reading, start: int, end: int) -> None:
    """Reads what stands between brackets."""
    text = reading.document.text
    before, after = text[start - 1 : start], text[end : end + 1]
    if start == end:
        if before + after in ("[]", "⟦⟧"):
            raise reading.refuse(
                start - 1, f"'{before}{after}' says nothing", "write a dot for every lost character"
            )
        return
    body = text[start:end]
    count = COUNT.fullmatch(body)
    if count and (count["about"] or count["high"] or not body.strip().isdigit()):
        low, high = int(count["low"]), int(count["high"] or count["low"])
        if count["about"] and not count["high"]:
            slack = max(1, -(-low // 3))
            low, high = max(1, low - slack), high + slack
        if not 1 <= low <= high:
            raise reading.refuse(start, f"'{body}' is no length", "write it as 5 or 5-7, from 1")
        reading.lose(start, end, low, high)
        return
    if re.fullmatch(rf"\s*{ABOUT}\W*", body):
        raise reading.refuse(start, f"'{body}' has no number", "write it as [c. 5]")
    if LONE_DASH.fullmatch(body):
        reading.lose(start, end, 1, None)
        return
    place = start
    while place < end:
        dots, dashes = DOTS.match(text, place, end), DASHES.match(text, place, end)
        if dots:
            number = sum(3 if c == "…" else 1 for c in dots[0] if not c.isspace())
            reading.lose(place, dots.end(), number, number)
            place = dots.end()
        elif dashes:
            reading.lose(place, dashes.end(), 1, None)
            place = dashes.end()
        else:
            stop = OTHER.match(text, place, end)
            assert stop is not None
            letters(reading, *stop.span())
            place = stop.end()


def letters(reading: Reading, start: int, end: int) -> None:
    """Reads letters; those with a dot below are hard to read."""
    text = reading.document.text
    for place in range(start, end):
        letter = unicodedata.normalize("NFD", text[place])
        if letter == DOT_BELOW and reading.text:
            reading.unclear.append(len(reading.text) - 1)
            reading.wide[len(reading.text) - 1] = place
            continue
        reading.keep(place, place + 1)
        if DOT_BELOW in letter and len(letter) > 1:
            plain = unicodedata.normalize("NFC", letter.replace(DOT_BELOW, ""))
            reading.text[-1] = plain if len(plain) == 1 else text[place]
            reading.unclear.append(len(reading.text) - 1)


def ithaca(reading: Reading) -> None:
    """Reads the signs of Ithaca and Aeneas."""
    for match in re.finditer(r"\?+|-+|#|[^?#-]+", reading.document.text):
        start, end = match.span()
        sign = match[0][0]
        if sign in "?-":
            reading.lose(start, end, end - start, end - start, sign == "?")
        elif sign == "#":
            reading.lose(start, end, 1, None)
        else:
            reading.keep(start, end)


def none(reading: Reading) -> None:
    """Takes a text as it is."""
    reading.keep(0, len(reading.document.text))


NOTATIONS: dict[str, Callable[[Reading], None]] = {
    "leiden": leiden,
    "ithaca": ithaca,
    "none": none,
}


def render(document: Document, notation: str = "leiden") -> str:
    """A document as plain text with signs for its gaps."""
    if notation not in NOTATIONS:
        raise UnknownNameError("notation", notation, NOTATIONS)
    pieces, last = [], 0
    for gap in document.gaps:
        pieces += [document.text[last : gap.start], sign_of(gap, notation)]
        last = gap.start
    return "".join([*pieces, document.text[last:]])


def sign_of(gap: Gap, notation: str) -> str:
    """How a notation writes a gap; nothing if it has no signs."""
    if notation == "none":
        return ""
    if notation == "ithaca":
        return ("?" if gap.asked else "-") * gap.minimum if gap.fixed else "#"
    if gap.maximum is None:
        return "[---]"
    if not gap.fixed:
        return f"[{gap.minimum}-{gap.maximum}]"
    return "[" + "." * gap.minimum + "]" if gap.minimum <= 12 else f"[.{gap.minimum}.]"
