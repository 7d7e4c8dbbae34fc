"""What was done to a document: some ranges replaced, some gaps filled, the rest untouched.

Writers consume a ``Restoration``. Characters outside its changes are never re-encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sfumato.errors import InvalidOptionError
from sfumato.signals import Signal
from sfumato_text.files.changes import Change, compared
from sfumato_text.files.documents import Document, codes_of, document_of, text_of

__all__ = ["Change", "Restoration", "restoration_of", "restored_signal"]


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

        Args:
            document: As it was.
            text: As it is now, gaps filled.
            probabilities: How likely each character of ``text`` is right.
        """
        found = compared(document, text)
        if probabilities is None:
            return cls(document, tuple(found))
        row = tuple(map(float, probabilities))
        places = cls(document, tuple(found)).places()
        told = [
            replace(change, probabilities=row[start:end])
            for change, (start, end) in zip(found, places, strict=True)
        ]
        return cls(document, tuple(told), row)


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
