"""What was done to a document: some ranges replaced, some gaps filled, the rest untouched.

Writers consume a ``Restoration``. Characters outside its changes are never re-encoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sfumato.errors import InvalidOptionError
from sfumato.signals import Signal
from sfumato_text.alignments import align, distance
from sfumato_text.files.documents import Document, codes_of, document_of, text_of

__all__ = ["Change", "Restoration", "restoration_of", "restored_signal"]

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


@dataclass(frozen=True, eq=False)
class Restoration:
    """A document with changes.

    Args:
        document: As it was.
        changes: In order of their places; they do not overlap.
        probabilities: How likely each character of the restored text is right, if that is known
            for more than the changes.

    Raises:
        InvalidOptionError: If changes overlap or leave the text, or a gap is filled twice or
            elsewhere than where it is.
    """

    document: Document
    changes: tuple[Change, ...] = ()
    probabilities: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        ordered = sorted(self.changes, key=lambda c: (c.start, c.end, c.gap is None, c.gap or 0))
        object.__setattr__(self, "changes", tuple(ordered))
        last, filled = 0, set()
        for change in ordered:
            good = last <= change.start <= change.end <= len(self.document.text)
            if change.gap is not None:
                inside = change.gap < len(self.document.gaps) and change.gap not in filled
                good = good and inside and change.start == change.end
                good = good and self.document.gaps[change.gap].start == change.start
                filled.add(change.gap)
            if not good:
                raise InvalidOptionError(
                    "restored text", f"the change at {change.start} to {change.end} does not fit",
                    "changes lie inside the text, apart from each other, one for each gap",
                )  # fmt: skip
            last = change.end

    @property
    def text(self) -> str:
        """The restored text; gaps that were not filled take no place."""
        pieces, last = [], 0
        for change in self.changes:
            pieces += [self.document.text[last : change.start], change.text]
            last = change.end
        return "".join([*pieces, self.document.text[last:]])

    def places(self) -> list[tuple[int, int]]:
        """Where each change lies in the restored text."""
        found, shift = [], 0
        for change in self.changes:
            start = change.start + shift
            found.append((start, start + len(change.text)))
            shift += len(change.text) - (change.end - change.start)
        return found

    def as_json(self) -> dict[str, Any]:
        """Text, changes, alternatives and probabilities, as JSON values."""
        changes = [
            {
                "kind": "gap" if change.gap is not None else "correction",
                "start": start,
                "end": end,
                "before": self.document.text[change.start : change.end],
                "text": change.text,
                "probability": change.probability,
                "probabilities": list(change.probabilities),
                "alternatives": [{"text": t, "probability": p} for t, p in change.alternatives],
            }
            for change, (start, end) in zip(self.changes, self.places(), strict=True)
        ]
        own = None if self.probabilities is None else list(self.probabilities)
        return {"text": self.text, "changes": changes, "probabilities": own}

    def kept(self, least: float) -> Restoration:
        """Only what is at least so probable; gaps are always filled.

        The guard against doing harm: below the stated confidence the input stays as it is.
        """
        sure = [
            change
            for change in self.changes
            if change.gap is not None or change.probability is None or change.probability >= least
        ]
        return Restoration(self.document, tuple(sure))

    @classmethod
    def filled(
        cls, document: Document, fills: Sequence[str], *, probabilities: Iterable[Any] = ()
    ) -> Restoration:
        """Gaps filled in their order; gaps that are not asked for stay.

        Args:
            document: What has the gaps.
            fills: One text for each gap.
            probabilities: One row for each gap: how likely each of its characters is right.

        Raises:
            InvalidOptionError: If there are not as many texts as gaps.
        """
        if len(fills) != len(document.gaps):
            raise InvalidOptionError(
                "gaps", f"{len(fills)} texts for {len(document.gaps)} gaps", "give one for each"
            )
        rows = [tuple(map(float, row)) for row in probabilities] or [()] * len(fills)
        changes = [
            Change(gap.start, gap.start, fill, row, gap=number)
            for number, (gap, fill, row) in enumerate(zip(document.gaps, fills, rows, strict=True))
            if gap.asked
        ]
        return cls(document, tuple(changes))

    @classmethod
    def from_text(
        cls, document: Document, text: str, *, probabilities: Sequence[float] | None = None
    ) -> Restoration:
        """Finds what was changed by comparing.

        Where all that was read stands in ``text`` unchanged, what lies between fills the gaps.
        Otherwise the texts are aligned, and what was put in at a gap fills it.

        Args:
            document: As it was.
            text: As it is now, gaps filled.
            probabilities: How likely each character of ``text`` is right.
        """
        found = fillings(document, text)
        if found is None:
            found = differences(document, text)
        if probabilities is None:
            return cls(document, tuple(found))
        row = tuple(map(float, probabilities))
        places = cls(document, tuple(found)).places()
        told = [
            replace(change, probabilities=row[start:end])
            for change, (start, end) in zip(found, places, strict=True)
        ]
        return cls(document, tuple(told), row)


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


def restored_signal(
    signal: Signal, restoration: Restoration, *, brackets: bool | None = None
) -> Signal:
    """The restored text under the header of the input, ready to be written.

    Args:
        signal: The input.
        restoration: What was done to it.
        brackets: Whether restored text is marked in the file; as the notation does if not given.
    """
    meta = {**signal.meta, "document": restoration.document, "restoration": restoration}
    if brackets is not None:
        meta["brackets"] = brackets
    return Signal(codes_of(restoration.text), meta, signal.path)


def restoration_of(signal: Signal) -> Restoration | None:
    """What was done to the document in a signal's header; ``None`` if it has none."""
    document = signal.meta.get("document")
    if not isinstance(document, Document):
        return None
    held, codes = signal.meta.get("restoration"), signal.data.cpu().long()
    if isinstance(held, Restoration) and codes_of(held.text).equal(codes):
        return held
    if document_of(signal) is document:
        return Restoration(document)
    if bool((codes < 0).any()):
        return None
    return Restoration.from_text(document, text_of(codes))
