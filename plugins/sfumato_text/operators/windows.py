"""Where a text has to be looked at: its open places with enough around them.

A prior sees a limited context, and what is far from a gap says nothing about it. So a text is cut
into windows: the gaps, those that lie near each other together, with ``context`` characters on
either side. Windows never reach over the border of a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sfumato_text.alphabets import extends
from sfumato_text.files.documents import Document, Gap

__all__ = ["Window", "records", "where", "windows"]


@dataclass(frozen=True)
class Window:
    """A stretch of a document's text with the gaps in it.

    Args:
        start: First character.
        end: After the last.
        gaps: Numbers of the gaps in it.
    """

    start: int
    end: int
    gaps: tuple[int, ...]

    def pieces(self, document: Document) -> list[str | Gap]:
        """Text and gaps in turn, beginning and ending with text, which may be empty."""
        found: list[str | Gap] = []
        last = self.start
        for number in self.gaps:
            gap = document.gaps[number]
            found += [document.text[last : gap.start], gap]
            last = gap.start
        return [*found, document.text[last : self.end]]


def records(document: Document) -> list[tuple[int, int]]:
    """Ranges of the text that have nothing to do with each other; all of it if there are none."""
    return list(document.records) or [(0, len(document.text))]


def windows(
    document: Document, *, context: int, asked: Sequence[int], together: bool = True
) -> list[Window]:
    """Windows around the gaps ``asked``, in order.

    Gaps of known length that are nearer to each other than ``context`` share a window, if
    ``together``. A gap of unknown length, or one that is not asked for, ends the windows beside it.
    """
    found: list[Window] = []
    for low, high in records(document):
        group: list[int] = []
        for number in asked:
            gap = document.gaps[number]
            if not low <= gap.start <= high:
                continue
            if group and not (together and joined(document, group[-1], number, context)):
                found.append(around(document, group, low, high, context))
                group = []
            group.append(number)
        if group:
            found.append(around(document, group, low, high, context))
    return found


def joined(document: Document, first: int, second: int, context: int) -> bool:
    """Whether two gaps are solved together."""
    a, b = document.gaps[first], document.gaps[second]
    return second == first + 1 and a.fixed and b.fixed and b.start - a.start < context


def around(document: Document, group: list[int], low: int, high: int, context: int) -> Window:
    """The window of some gaps; it ends at other gaps."""
    first, last = document.gaps[group[0]].start, document.gaps[group[-1]].start
    start, end = max(low, first - context), min(high, last + context)
    if group[0] > 0:
        start = max(start, min(document.gaps[group[0] - 1].start, first))
    if group[-1] + 1 < len(document.gaps):
        end = min(end, max(document.gaps[group[-1] + 1].start, last))
    while start < first and extends(document.text[start]):  # marks stay with their letter
        start += 1
    while last < end < len(document.text) and extends(document.text[end]):
        end -= 1
    return Window(start, end, tuple(group))


def where(text: str, place: int) -> str:
    """A place of a text in words."""
    line = text.count("\n", 0, place)
    column = place - (text.rfind("\n", 0, place) + 1)
    return f"line {line + 1}, column {column + 1}"
