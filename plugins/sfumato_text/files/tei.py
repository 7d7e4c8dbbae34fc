"""TEI as epigraphers use it (EpiDoc; Elliott, Bodard, Cayless et al.).

    <gap reason="lost" quantity="3" unit="character"/>              three characters
    <gap reason="lost" atLeast="3" atMost="5" unit="character"/>    three to five
    <gap reason="lost" extent="unknown" unit="character"/>          nobody knows
    <unclear>ab</unclear>                                           hard to read
    <supplied reason="lost">ab</supplied>                           restored

Restored text replaces its gap as ``<supplied>``, with ``cert="low"`` where it is more likely wrong
than right. Whole lines that are lost (``unit="line"``) stay as they are. Blanks and line ends in
the file count as one blank; ``<lb/>`` and blocks end a line, ``<lb break="no"/>`` does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import UnreadableFileError
from sfumato_text.files.documents import Document, Gap, Slot
from sfumato_text.files.markup import Element, Run, parse_xml
from sfumato_text.files.notations import UNCLEAR
from sfumato_text.files.patching import escape, patch
from sfumato_text.files.plain import TextFormat
from sfumato_text.files.reading import Decoded, place
from sfumato_text.files.restorations import Change, Restoration

__all__ = ["TEI"]

BLOCKS = {"ab", "p", "l", "lg", "div", "head", "body", "text", "front", "back", "salute", "seg"}
BREAKS = {"lb", "pb", "cb", "milestone"}
SKIPPED = {"teiHeader", "note", "rdg", "sic", "orig", "figDesc", "bibl", "fw", "desc", "facsimile"}
CHARACTERS = {"character", "chars", "char", "letter", "glyph", ""}
NAMESPACE = "http://www.tei-c.org/ns/1.0"


@dataclass
class Transcript:
    """What has been read of a text so far."""

    decoded: Decoded
    path: Path
    text: list[str] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    confidence: list[float] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    implied: int = -1
    """Length of the text after the last line end that a block made."""

    @property
    def after_gap(self) -> bool:
        """Whether a gap is the last thing that has been read."""
        return bool(self.gaps) and self.gaps[-1].start == len(self.text)

    @property
    def blank(self) -> bool:
        """Whether another blank would say nothing."""
        return not self.after_gap and (not self.text or self.text[-1] in " \n")

    def add(self, text: str, spans: NDArray[np.int64], confidence: float) -> None:
        """Characters with their places."""
        if text:
            self.slots.append(Slot(len(self.text), spans, "xml"))
            self.text += text
            self.confidence += [confidence] * len(text)

    def run(self, run: Run, confidence: float, preserve: bool) -> None:
        """Characters between tags, each stretch of blanks as one unless they are to be kept."""
        if preserve:
            self.add(run.text, run.spans, confidence)
            return
        for match in re.finditer(r"\s+|\S+", run.text):
            first, last = match.span()
            if not match[0][0].isspace():
                self.add(match[0], run.spans[first:last], confidence)
            elif not self.blank:
                both = np.array([[run.spans[first, 0], run.spans[last - 1, 1]]])
                self.add(" ", both, confidence)

    def strip(self) -> None:
        """Takes blanks at the end away."""
        while not self.after_gap and self.text and self.text[-1] == " ":
            self.text.pop()
            self.confidence.pop()
            self.slots.pop()

    def end_line(self, preserve: bool = False) -> None:
        """A line end that no character of the file stands for, unless there is one."""
        if not preserve:
            self.strip()
        if self.after_gap or (self.text and self.text[-1] != "\n"):
            self.text.append("\n")
            self.confidence.append(np.nan)
            self.implied = len(self.text)

    def gap(self, element: Element) -> None:
        """A gap element."""
        told = element.attributes
        unit = told.get("unit", "character")
        if unit not in CHARACTERS:
            amount = told.get("quantity") or told.get("extent") or "some"
            self.notes.append(f"{amount} {unit}(s) lost: left as they are")
            return
        low, high = self.size(element)
        span = (element.start, element.end)
        self.gaps.append(Gap(len(self.text), low, high, span=span))

    def refuse(self, element: Element, why: str, fix: str) -> UnreadableFileError:
        """The error for an element; places are counted only here, for that takes time."""
        where = place(self.decoded.text, element.start)
        return UnreadableFileError(self.path, f"{where}: {why}", fix)

    def size(self, element: Element) -> tuple[int, int | None]:
        """Fewest and most characters of a gap."""
        told = element.attributes

        def number(name: str) -> int:
            try:
                value = int(told[name])
            except ValueError:
                value = 0
            if value < 1:
                why = f'<gap {name}="{told[name]}"> is no length'
                raise self.refuse(element, why, 'write a number from 1, or extent="unknown"')
            return value

        if "atLeast" in told or "atMost" in told:
            low = number("atLeast") if "atLeast" in told else 1
            high = number("atMost") if "atMost" in told else None
            if high is not None and high < low:
                raise self.refuse(element, "atMost is less than atLeast", "exchange them")
            return low, high
        exact = "quantity" if "quantity" in told else "extent"
        if exact not in told or told[exact] == "unknown":
            return 1, None
        count = number(exact)
        if told.get("precision") == "low":
            slack = max(1, -(-count // 3))
            return max(1, count - slack), count + slack
        return count, count

    def walk(self, element: Element, confidence: float, preserve: bool = False) -> None:
        """Reads what is below an element."""
        preserve = element.attributes.get("space", "preserve" * preserve) == "preserve"
        for child in element.children:
            if isinstance(child, Run):
                self.run(child, confidence, preserve)
            elif child.name == "gap":
                self.gap(child)
            elif child.name in BREAKS:
                if preserve:
                    self.text.append("\n")
                    self.confidence.append(np.nan)
                elif child.attributes.get("break") == "no":
                    self.strip()
                else:
                    self.end_line()
            elif child.name in SKIPPED and not lone(child, element):
                continue
            else:
                own = UNCLEAR if child.name == "unclear" else confidence
                if child.name in BLOCKS:
                    self.end_line(preserve)
                self.walk(child, own, preserve)
                if child.name in BLOCKS:
                    self.end_line(preserve or child.attributes.get("space") == "preserve")


def lone(child: Element, parent: Element) -> bool:
    """Whether the original or the error is all that is given."""
    return child.name in ("sic", "orig") and parent.name != "choice"


@dataclass(frozen=True)
class TEI(TextFormat):
    """TEI and EpiDoc."""

    suffixes: ClassVar[tuple[str, ...]] = (".tei",)
    kind: ClassVar[str] = "tei"

    def parse(self, decoded: Decoded, path: Path) -> Document:
        return self.from_tree(parse_xml(decoded, path), decoded, path)

    def from_tree(self, root: Element, decoded: Decoded, path: Path) -> Document:
        """The document in a tree.

        Raises:
            UnreadableFileError: If there is no text in it.
        """
        transcript = Transcript(decoded, path)
        for body in [root] if root.name == "text" else list(root.find("text")) or [root]:
            transcript.walk(body, np.nan)
        if transcript.implied == len(transcript.text) and not transcript.after_gap:
            transcript.text.pop()
            transcript.confidence.pop()
        if not transcript.text and not transcript.gaps:
            raise UnreadableFileError(path, "there is no transcription in its <text>")
        confidence = np.array(transcript.confidence, dtype=np.float64)
        return Document(
            "".join(transcript.text),
            tuple(transcript.gaps),
            None if np.isnan(confidence).all() else confidence,
            slots=tuple(joined(transcript.slots)),
            source=self.source(decoded),
            notes=tuple(transcript.notes),
        )

    def patched(self, restoration: Restoration, brackets: bool) -> str:
        document = restoration.document

        def fill(gap: Gap, change: Change) -> str:
            text = escape(change.text, "xml", document)
            if not brackets or not text:
                return text
            doubtful = change.probability is not None and change.probability < 0.5
            told = ' cert="low"' if doubtful else ""
            return f'<supplied reason="lost"{told}>{text}</supplied>'

        return patch(restoration, fill)

    def fresh(self, document: Document) -> str:
        pieces, last = [], 0
        for gap in document.gaps:
            pieces += [lines(document.text[last : gap.start], document), gap_element(gap)]
            last = gap.start
        pieces.append(lines(document.text[last:], document))
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<TEI xmlns="{NAMESPACE}"><teiHeader><fileDesc><titleStmt><title>Text</title>'
            "</titleStmt><publicationStmt><p/></publicationStmt><sourceDesc><p/></sourceDesc>"
            '</fileDesc></teiHeader><text><body><div type="edition"><ab xml:space="preserve">'
            f"{''.join(pieces)}</ab></div></body></text></TEI>\n"
        )


def joined(slots: list[Slot]) -> list[Slot]:
    """Slots that follow each other in text and source become one."""
    groups: list[list[Slot]] = []
    for slot in slots:
        last = groups[-1][-1] if groups else None
        if last and last.end == slot.start and last.spans[-1, 1] == slot.spans[0, 0]:
            groups[-1].append(slot)
        else:
            groups.append([slot])
    return [
        Slot(group[0].start, np.concatenate([slot.spans for slot in group]), group[0].kind)
        for group in groups
    ]


def lines(text: str, document: Document) -> str:
    """Text with its line ends as elements."""
    return escape(text, "xml", document).replace("\n", "<lb/>")


def gap_element(gap: Gap) -> str:
    """How EpiDoc writes a gap."""
    if gap.maximum is None:
        return '<gap reason="lost" extent="unknown" unit="character"/>'
    if gap.fixed:
        return f'<gap reason="lost" quantity="{gap.minimum}" unit="character"/>'
    bounds = f'atLeast="{gap.minimum}" atMost="{gap.maximum}"'
    return f'<gap reason="lost" {bounds} unit="character"/>'
