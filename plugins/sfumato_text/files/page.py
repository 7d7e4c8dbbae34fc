"""PAGE XML (Pletschacher & Antonacopoulos, 2010).

Regions hold lines, lines words, words glyphs, and each of them may hold its text again:
``<TextEquiv conf="0.93"><Unicode>word</Unicode></TextEquiv>``. Of several ``TextEquiv`` the one
with the lowest ``index`` is the text, the others are alternatives. The finest level that all lines
have is read; levels that say the same are written along.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato_text.files.documents import Document
from sfumato_text.files.layouts import File, Layout, Reading, stripped
from sfumato_text.files.markup import Element, parse_xml
from sfumato_text.files.notations import render
from sfumato_text.files.patching import escape
from sfumato_text.files.plain import TextFormat
from sfumato_text.files.reading import Decoded

__all__ = ["PAGE"]

NAMESPACE = "http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"
LAST = 10**6


@dataclass(frozen=True)
class PAGE(TextFormat):
    """PAGE XML."""

    suffixes: ClassVar[tuple[str, ...]] = (".page",)
    kind: ClassVar[str] = "page"

    def parse(self, decoded: Decoded, path: Path) -> Document:
        return self.from_tree(parse_xml(decoded, path), decoded, path)

    def from_tree(self, root: Element, decoded: Decoded, path: Path) -> Document:
        """The document in a tree.

        Raises:
            UnreadableFileError: If no text is in it, or a confidence makes no sense.
        """
        layout, file = Layout(), Equivalents(decoded.text, path)
        for region in in_order(root):
            for line in region.find("TextLine"):
                whole = file.reading(line)
                words = [
                    (file.reading(word), [file.reading(glyph) for glyph in word.find("Glyph")])
                    for word in line.find("Word")
                ]
                told = [(word, glyphs) for word, glyphs in words if word is not None]
                for word, glyphs in told:
                    layout.word(word, [glyph for glyph in glyphs if glyph is not None])
                if not told and whole is not None:
                    layout.word(whole)
                layout.end_line(whole if told else None)
            own = file.reading(region)
            if own is not None and next(region.find("TextLine"), None) is None:
                layout.word(own)
                own = None
            layout.end_block(own)
        return layout.document(self.source(decoded), path)

    def fresh(self, document: Document) -> str:
        lines = [
            f'<TextLine id="l{number}"><TextEquiv><Unicode>{escape(line, "xml", document)}'
            "</Unicode></TextEquiv></TextLine>"
            for number, line in enumerate(render(document).split("\n"), 1)
        ]
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<PcGts xmlns="{NAMESPACE}"><Page imageFilename="" imageWidth="0" imageHeight="0">'
            f'<TextRegion id="r1">{"".join(lines)}</TextRegion></Page></PcGts>\n'
        )


def in_order(root: Element) -> list[Element]:
    """Text regions in reading order; those that the order leaves out come last."""
    regions = list(regions_of(root))
    refs = [ref for order in root.find("ReadingOrder") for ref in references(order)]
    rank = {ref: number for number, ref in enumerate(refs)}
    return sorted(regions, key=lambda region: rank.get(region.attributes.get("id", ""), LAST))


def regions_of(root: Element) -> list[Element]:
    """Text regions, also those inside others."""
    return [
        inner
        for region in root.find("TextRegion")
        for inner in (list(region.find("TextRegion")) or [region])
    ]


def references(group: Element) -> list[str]:
    """Names of regions in the order of their indices, groups within groups in place."""

    def index(element: Element) -> int:
        value = element.attributes.get("index", "")
        return int(value) if value.isdigit() else LAST

    found = []
    for child in sorted(group.elements, key=index):
        found += [child.attributes["regionRef"]] if "regionRef" in child.attributes else []
        found += references(child)
    return found


@dataclass(frozen=True)
class Equivalents(File):
    """The texts of a file's elements."""

    def reading(self, element: Element) -> Reading | None:
        """The text that an element gives for itself; ``None`` if it gives none."""
        ranked = sorted(
            (child for child in element.elements if child.name == "TextEquiv"), key=rank_of
        )
        found = [(text_in(equiv), self.confidence(equiv)) for equiv in ranked]
        if not found or (len(found) == 1 and found[0][0] is None):
            return None
        first, sure = found[0]
        if first is None:  # a word that was emptied, whatever else it may have been read as
            return Reading("", np.zeros((0, 2), dtype=np.int64), "xml")
        others = tuple((told[0], own) for told, own in found[1:] if told is not None)
        return Reading(*first, "xml", sure, others)

    def confidence(self, equiv: Element) -> float | None:
        value = equiv.attributes.get("conf")
        return None if value is None else self.sure(equiv, value, 1, "conf")


def rank_of(equiv: Element) -> int:
    value = equiv.attributes.get("index", "")
    return int(value) if value.isdigit() else LAST


def text_in(equiv: Element) -> tuple[str, NDArray[np.int64]] | None:
    """The characters of a TextEquiv with their places; ``None`` if there are none."""
    for inner in equiv.elements:
        runs = list(inner.runs()) if inner.name == "Unicode" else []
        if runs:
            spans = np.concatenate([run.spans for run in runs])
            text, spans = stripped("".join(run.text for run in runs), spans)
            return (text, spans) if text else None
    return None
