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
from collections.abc import Callable
from pathlib import Path

from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato_text.files.documents import Document, Gap
from sfumato_text.files.leiden import leiden
from sfumato_text.files.signs import UNCLEAR, Reading

__all__ = ["NOTATIONS", "UNCLEAR", "ask_gaps", "parse", "render"]


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
