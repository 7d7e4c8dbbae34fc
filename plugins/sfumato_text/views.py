"""A restoration for people: coloured HTML, and plain text with marks.

Restored characters stand on a ground between red (0) and green (1), by how likely each is right;
grey where nobody knows. What a change replaced, and the alternatives, appear under the pointer.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from sfumato_text.files.changes import Change
from sfumato_text.files.restorations import Restoration

__all__ = ["colour", "html_of", "marked"]

SHOWN = 5
"""How many alternatives are listed."""

RED, GREEN = 8, 130
"""Hues in degrees."""


def html_of(restoration: Restoration) -> str:
    """An HTML fragment without scripts, styles or links outside itself."""
    text, pieces, last = restoration.document.text, [], 0
    for change in restoration.changes:
        pieces += [escape(text[last : change.start]), inserted(change, text)]
        last = change.end
    body = "".join([*pieces, escape(text[last:])])
    return f'<div style="white-space:pre-wrap;overflow-wrap:anywhere">{body}</div>'


def inserted(change: Change, text: str) -> str:
    """A change as HTML."""
    known = change.probabilities or (None,) * len(change.text)
    parts = [
        f'<span style="background:{colour(p)}">{escape(sign)}</span>'
        for sign, p in zip(change.text, known, strict=True)
    ]
    title = escape("\n".join(told(change, text)), quote=True)
    if change.text:
        return f'<ins style="text-decoration:none" title="{title}">{"".join(parts)}</ins>'
    gone = escape(text[change.start : change.end])
    return f'<del title="{title}" style="background:{colour(None)}">{gone}</del>'


def told(change: Change, text: str) -> Iterable[str]:
    """What is said of a change."""
    yield "gap" if change.gap is not None else f"was '{text[change.start : change.end]}'"
    if change.probability is not None:
        yield f"least certain character: {100 * change.probability:.0f} %"
    for other, p in change.alternatives[:SHOWN]:
        yield f"or '{other}': {100 * p:.0f} %"


def colour(probability: float | None) -> str:
    """A background for a probability."""
    if probability is None:
        return "#ddd"
    hue = RED + (GREEN - RED) * min(max(probability, 0.0), 1.0)
    return f"hsl({hue:.0f} 75% 80%)"


def marked(restoration: Restoration, *, doubtful: float = 0.5) -> str:
    """Plain text: fillings in square brackets, corrections in ⟨⟩, with ? where they are doubtful.

    Args:
        restoration: What was done.
        doubtful: Below this probability of the least certain character a change is doubtful.
    """
    text, pieces, last = restoration.document.text, [], 0
    for change in restoration.changes:
        first, second = "[]" if change.gap is not None else "⟨⟩"
        sure = change.probability is None or change.probability >= doubtful
        pieces += [text[last : change.start], first, change.text, "" if sure else "?", second]
        last = change.end
    return "".join([*pieces, text[last:]])
