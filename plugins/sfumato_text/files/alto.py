"""ALTO (Library of Congress), versions 2 to 4.

Text stands in attributes: ``<String CONTENT="word" WC="0.93" CC="0 0 4 0">``. WC is the confidence
in the word, from 0 to 1; CC has a digit for each character, from 0 (sure) to 9 (unsure).
``<ALTERNATIVE>`` holds other readings of a word; since version 3.1 ``<Glyph CONTENT GC>`` with
``<Variant CONTENT VC>`` says the same of characters. A hyphen at a line's end is ``<HYP>``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sfumato_text.files.documents import Document
from sfumato_text.files.layouts import File, Layout, Reading
from sfumato_text.files.markup import Element, attribute_spans, parse_xml
from sfumato_text.files.notations import render
from sfumato_text.files.patching import escape
from sfumato_text.files.plain import TextFormat
from sfumato_text.files.reading import Decoded

__all__ = ["ALTO"]

NAMESPACE = "http://www.loc.gov/standards/alto/ns-v4#"


@dataclass(frozen=True)
class ALTO(TextFormat):
    """ALTO XML."""

    suffixes: ClassVar[tuple[str, ...]] = (".alto",)
    kind: ClassVar[str] = "alto"

    def parse(self, decoded: Decoded, path: Path) -> Document:
        return self.from_tree(parse_xml(decoded, path), decoded, path)

    def from_tree(self, root: Element, decoded: Decoded, path: Path) -> Document:
        """The document in a tree.

        Raises:
            UnreadableFileError: If no word is in it, or a confidence makes no sense.
        """
        layout, file = Layout(), Strings(decoded.text, path)
        for block in root.find("TextBlock"):
            for line in block.find("TextLine"):
                for part in line.find("String", "HYP"):
                    layout.word(file.word(part), file.glyphs(part), glue=part.name == "HYP")
                layout.end_line()
            layout.end_block()
        return layout.document(self.source(decoded), path)

    def fresh(self, document: Document) -> str:
        lines = [
            "<TextLine>"
            + "<SP/>".join(
                f'<String CONTENT="{escape(word, "attribute", document)}"/>'
                for word in line.split(" ")
            )
            + "</TextLine>"
            for line in render(document).split("\n")
        ]
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<alto xmlns="{NAMESPACE}"><Layout><Page ID="p1" PHYSICAL_IMG_NR="1"><PrintSpace>'
            f'<TextBlock ID="b1">{"".join(lines)}</TextBlock>'
            "</PrintSpace></Page></Layout></alto>\n"
        )


@dataclass(frozen=True)
class Strings(File):
    """The words of a file."""

    def word(self, element: Element) -> Reading:
        """A String or a hyphen."""
        told = element.attributes
        others = tuple(
            (alternative.text.strip(), None)
            for alternative in element.elements
            if alternative.name == "ALTERNATIVE" and alternative.text.strip()
        )
        return self.reading(element, self.confidence(element, len(told.get("CONTENT", ""))), others)

    def reading(
        self,
        element: Element,
        confidence: float | list[float] | None,
        variants: tuple[tuple[str, float | None], ...] = (),
    ) -> Reading:
        """The text of an element's CONTENT."""
        spans = attribute_spans(self.source, element, "CONTENT")
        text = element.attributes.get("CONTENT", "")
        return Reading(text, spans, "attribute", confidence, variants)

    def confidence(self, element: Element, count: int) -> float | list[float] | None:
        """Confidences of the characters, or of the word."""
        told = element.attributes
        digits = re.findall(r"\d", told.get("CC", ""))
        if count and len(digits) == count:
            return [1 - int(digit) / 9 for digit in digits]
        return self.number(element, "WC")

    def number(self, element: Element, name: str) -> float | None:
        """A confidence, if it is given."""
        value = element.attributes.get(name)
        return None if value is None else self.sure(element, value, 1, name)

    def glyphs(self, element: Element) -> list[Reading]:
        """The glyphs of a word."""
        found = []
        for glyph in (child for child in element.elements if child.name == "Glyph"):
            others = tuple(
                (child.attributes.get("CONTENT", ""), self.number(child, "VC"))
                for child in glyph.elements
                if child.name == "Variant"
            )
            found.append(self.reading(glyph, self.number(glyph, "GC"), others))
        return found
