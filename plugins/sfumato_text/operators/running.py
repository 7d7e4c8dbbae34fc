"""The running text of a page: what its prior knows, without the layout.

Lines of a page end where the paper does. To a prior such an end is a blank, or the end of a verse
or paragraph; which of them it decides itself. A word that a hyphen divides at the end of a line is
one word. What was left out here stays in the document: a ``Run`` knows where each of its signs
stands there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from sfumato_text.alphabets import clusters, composed
from sfumato_text.files.documents import Document
from sfumato_text.operators.windows import records

__all__ = ["BREAK", "Run", "runs"]

BREAK = "\n"
"""The sign of a line's end."""
UNKNOWN = "\ufffd"
"""Stands for what Unicode has no single sign for, such as a letter with two marks."""
HYPHENS = "-\u00ac\u00ad\u2010\u2e17"
DIVIDED = re.compile(rf"(?<=[^\W\d_])[{HYPHENS}][^\S\n]*\n\s*(?=[^\W\d_])")
LAYOUT = re.compile(rf"(?P<divided>{DIVIDED.pattern})|(?P<end>\s*\n\s*)")


@dataclass(frozen=True)
class Run:
    """A piece of running text.

    Args:
        signs: One character for each sign; ``BREAK`` where a line ends.
        places: First and last + 1 character of the document for each sign.
    """

    signs: str
    places: tuple[tuple[int, int], ...]

    @cached_property
    def text(self) -> str:
        """The signs with blanks at line ends."""
        return self.signs.replace(BREAK, " ")

    def range(self, first: int, last: int) -> tuple[int, int]:
        """Where signs ``first`` to ``last`` − 1 stand; an empty range lies after what precedes."""
        if first < last:
            return self.places[first][0], self.places[last - 1][1]
        at = self.places[first - 1][1] if first else self.places[0][0]
        return at, at

    def hidden(self, sign: int) -> tuple[int, int] | None:
        """What stands in the document between a sign and the one before, if anything."""
        if not 0 < sign < len(self.places):
            return None
        start, end = self.places[sign - 1][1], self.places[sign][0]
        return (start, end) if start < end else None

    def document(self, whole: Document) -> Document:
        """The run as a document of its own, with what is known of its signs."""
        told = whole.confidence
        own = None if told is None else np.array([
            np.nan if sign == BREAK else float(np.mean(told[start:end]))
            for sign, (start, end) in zip(self.signs, self.places, strict=True)
        ])  # fmt: skip
        at = {place: number for number, place in enumerate(self.places)}
        variants = tuple(
            replace(variant, start=at[place], end=at[place] + 1)
            for variant in whole.variants
            if (place := (variant.start, variant.end)) in at and len(variant.text) == 1
        )
        return Document(self.signs, confidence=own, variants=variants)


def runs(document: Document, *, most: int) -> list[Run]:
    """The running texts of a document, cut at line ends after at least ``most`` signs.

    Paragraphs stay whole where they are shorter than that. Records stay apart.
    """
    found = []
    for start, end in records(document):
        signs, places = read(document.text, start, end)
        for first, last in cuts(document.text, signs, places, most):
            if signs[first:last].strip():
                found.append(Run(signs[first:last], tuple(places[first:last])))
    return found


def read(text: str, start: int, end: int) -> tuple[str, list[tuple[int, int]]]:
    """Signs of a range of a text, and where each stands."""
    signs: list[str] = []
    places: list[tuple[int, int]] = []

    def take(low: int, high: int) -> None:
        for first, last in clusters(text[low:high]):
            sign = composed(text[low + first : low + last])
            signs.append(sign if len(sign) == 1 else UNKNOWN)
            places.append((low + first, low + last))

    last = start
    for match in LAYOUT.finditer(text, start, end):
        take(last, match.start())
        last = match.end()
        if match["divided"] is None and match.start() > start and match.end() < end:
            signs.append(BREAK)
            places.append((match.start(), match.end()))
    take(last, end)
    return "".join(signs), places


def cuts(
    text: str, signs: str, places: list[tuple[int, int]], most: int
) -> Iterator[tuple[int, int]]:
    """Ranges of signs; a line end that is cut at belongs to none."""
    first = 0
    for number, sign in enumerate(signs):
        if sign != BREAK or number - first < most // 2:
            continue
        start, end = places[number]
        if number - first >= most or text.count("\n", start, end) > 1:
            yield first, number
            first = number + 1
    yield first, len(signs)
