"""Writing a source again with some characters changed and every other one as it was.

Each layer of slots gets every change. A change inside one slot replaces the source of its own
characters. A change that runs over several slots, or touches what lies between them, rewrites
these: if the new text has as many parts as there are words (or lines), cut where the file cuts it,
each gets one; otherwise the first gets all of it and the others become empty. Slots that touch, as
the letters of a word that are listed one by one, keep their lengths; the last gets what is left.
"""

from __future__ import annotations

import itertools
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sfumato_text.files.documents import Document, Gap, Slot
from sfumato_text.files.restorations import Change, Restoration

__all__ = ["Edit", "escape", "patch"]


class Edit(NamedTuple):
    """``source[start:end]`` becomes ``text``."""

    start: int
    end: int
    text: str


def patch(
    restoration: Restoration,
    fill: Callable[[Gap, Change], str],
    *,
    unmark: bool = False,
) -> str:
    """The source with a restoration's changes in it.

    Args:
        restoration: Of a document that has a source.
        fill: What replaces the marker of a gap.
        unmark: Whether to take the document's marks out.
    """
    document = restoration.document
    assert document.source is not None
    edits: list[Edit] = []
    plain: list[Change] = []
    for change in restoration.changes:
        gap = None if change.gap is None else document.gaps[change.gap]
        if gap is not None and gap.span is not None:
            edits.append(Edit(*gap.span, fill(gap, change)))
        else:
            plain.append(change)
    if plain:
        for layer in sorted({slot.layer for slot in document.slots}):
            slots = sorted(
                (slot for slot in document.slots if slot.layer == layer), key=lambda s: s.start
            )
            # a layer that repeats parts of the text has no say in what it does not repeat
            ends = [slot.end for slot in slots]
            own = [c for c in plain if layer == 0 or falls_on(slots, ends, c)]
            edits += layer_edits(document, slots, own)
    if unmark:
        edits += [Edit(start, end, "") for start, end in document.marks]
    return apply(document.source.text, edits)


def apply(source: str, edits: Iterable[Edit]) -> str:
    """A text with edits that do not overlap."""
    pieces, last = [], 0
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        pieces += [source[last : edit.start], edit.text]
        last = max(last, edit.end)
    return "".join([*pieces, source[last:]])


@dataclass
class Group:
    """Slots ``first`` to ``last`` of a layer, with the changes that fall on them."""

    first: int
    last: int
    changes: list[Change]


def layer_edits(document: Document, slots: list[Slot], changes: list[Change]) -> list[Edit]:
    """What the changes do to one layer."""
    groups: list[Group] = []
    ends = [slot.end for slot in slots]
    for change in changes:
        first, last = touched(slots, ends, change)
        if groups and first <= groups[-1].last:
            groups[-1].last = max(last, groups[-1].last)
            groups[-1].changes.append(change)
        else:
            groups.append(Group(first, last, [change]))
    edits: list[Edit] = []
    for group in groups:
        chosen = slots[group.first : group.last + 1]
        inside = all(chosen[0].start <= c.start and c.end <= chosen[0].end for c in group.changes)
        if len(chosen) == 1 and inside and not needs_quotes(chosen[0], group.changes):
            edits += [inner(document, chosen[0], change) for change in group.changes]
        else:
            edits += rewritten(document, chosen, group.changes)
    return edits


def falls_on(slots: list[Slot], ends: list[int], change: Change) -> bool:
    """Whether a change touches a character of these slots, or is put in at one."""
    near = slots[max(bisect_right(ends, change.start) - 1, 0) :][:2]
    if change.start == change.end:
        return any(slot.start <= change.start <= slot.end for slot in near)
    return any(slot.start < change.end and change.start < slot.end for slot in near)


def touched(slots: list[Slot], ends: list[int], change: Change) -> tuple[int, int]:
    """First and last slot that a change falls on, its neighbours too where it leaves them."""
    first = min(bisect_right(ends, change.start), len(slots) - 1)
    before = first > 0 and ends[first - 1] == change.start
    if change.start == change.end:
        if before or change.start < slots[first].start:
            first = max(first - 1, 0)  # what is put in belongs to what it follows
        return first, first
    if change.start < slots[first].start:
        first = max(first - 1, 0)
    last = first
    while last + 1 < len(slots) and ends[last] < change.end:
        last += 1
    return first, last


def inner(document: Document, slot: Slot, change: Change) -> Edit:
    """A change within one slot."""
    low, high = change.start - slot.start, change.end - slot.start
    if low < high:
        start, end = int(slot.spans[low, 0]), int(slot.spans[high - 1, 1])
    else:
        start = int(slot.spans[low, 0]) if low < len(slot.spans) else int(slot.spans[-1, 1])
        end = start
    return Edit(start, end, escape(change.text, slot.kind, document))


def rewritten(document: Document, slots: list[Slot], changes: list[Change]) -> list[Edit]:
    """Slots written anew."""
    start = min(slots[0].start, changes[0].start)
    end = max(slots[-1].end, changes[-1].end)
    pieces, last = [], start
    for change in changes:
        pieces += [document.text[last : change.start], change.text]
        last = change.end
    whole = "".join([*pieces, document.text[last:end]])
    edits = []
    for slot, text in zip(slots, shared_out(whole, slots, document), strict=True):
        if document.text[slot.start : slot.end] != text:
            new = escape(text, slot.kind, document)
            if slot.kind == "bare" and special(text, document):
                new = '"' + text.replace('"', '""') + '"'
            edits.append(Edit(int(slot.spans[0, 0]), int(slot.spans[-1, 1]), new))
    return edits


def shared_out(whole: str, slots: list[Slot], document: Document) -> list[str]:
    """A text for each slot, that together are ``whole``."""
    groups = [[slots[0]]]  # slots that touch: the letters of a word, each in its own element
    for before, slot in itertools.pairwise(slots):
        groups[-1:] = [[*groups[-1], slot]] if before.end == slot.start else [groups[-1], [slot]]
    between = {document.text[a[-1].end : b[0].start] for a, b in itertools.pairwise(groups)}
    parts = whole.split(between.pop()) if len(between) == 1 else [whole]
    if len(parts) != len(groups):
        parts = [whole, *[""] * (len(groups) - 1)]
    found = []
    for group, part in zip(groups, parts, strict=True):
        rest = part
        for slot in group[:-1]:
            size = len(slot.spans)
            found.append(rest[:size])
            rest = rest[size:]
        found.append(rest)
    return found


def needs_quotes(slot: Slot, changes: list[Change]) -> bool:
    return slot.kind == "bare" and any(re.search(r'[",;\t\r\n|]', c.text) for c in changes)


def special(text: str, document: Document) -> bool:
    """Whether a cell of a table must be quoted."""
    delimiter = document.source.delimiter if document.source else ","
    return any(sign in text for sign in (delimiter, '"', "\n", "\r"))


def escape(text: str, kind: str, document: Document) -> str:
    """A text as it is written in a slot of some kind."""
    newline = document.source.newline if document.source else "\n"
    if kind in ("xml", "attribute"):
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        if kind == "attribute":
            return text.replace('"', "&quot;").replace("'", "&#39;").replace("\n", "&#10;")
        return text
    if kind == "json":
        return json.dumps(text, ensure_ascii=False)[1:-1]
    if kind == "cell":
        return text.replace('"', '""').replace("\n", newline)
    return text.replace("\n", newline)
