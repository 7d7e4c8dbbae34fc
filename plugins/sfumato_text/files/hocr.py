"""hOCR (Breuel, 2007), as tesseract and others write it: XHTML or HTML with classes.

    <span class="ocrx_word" title="bbox 36 92 93 116; x_wconf 93">word</span>

``x_wconf`` is the confidence in a word, from 0 to 100, ``x_confs`` has one for each character;
``ocrx_cinfo`` elements hold single characters with ``x_conf``; those that hold further ones are
what tesseract calls choices: readings of one character each, its own among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from sfumato.errors import UnreadableFileError
from sfumato_text.files.documents import Document
from sfumato_text.files.layouts import File, Layout, Reading, stripped
from sfumato_text.files.markup import Element, Run, parse_html
from sfumato_text.files.notations import render
from sfumato_text.files.patching import escape
from sfumato_text.files.plain import TextFormat
from sfumato_text.files.reading import Decoded

__all__ = ["HOCR"]

LINES = {"ocr_line", "ocr_header", "ocr_caption", "ocr_textfloat", "ocrx_line"}
BLOCKS = {"ocr_par", "ocr_carea", "ocrx_block", "ocr_page"}


@dataclass(frozen=True)
class HOCR(TextFormat):
    """hOCR."""

    suffixes: ClassVar[tuple[str, ...]] = (".hocr", ".html", ".htm")
    kind: ClassVar[str] = "hocr"

    def parse(self, decoded: Decoded, path: Path) -> Document:
        root = parse_html(decoded, path)
        if next(with_class(root, BLOCKS | LINES | {"ocrx_word"}), None) is None:
            raise UnreadableFileError(
                path, "it has no element of a class such as 'ocr_line' or 'ocrx_word'",
                "expected hOCR, such as 'tesseract picture out hocr' writes",
            )  # fmt: skip
        if not re.search(r"</html\s*>\s*$", decoded.text, re.IGNORECASE):
            raise UnreadableFileError(path, "its end is missing", "expected </html>")
        layout, file = Layout(), Spans(decoded.text, path)
        file.walk(root, layout)
        return layout.document(self.source(decoded), path)

    def fresh(self, document: Document) -> str:
        lines = [
            "<span class='ocr_line'>"
            + " ".join(
                f"<span class='ocrx_word'>{escape(word, 'xml', document)}</span>"
                for word in line.split(" ")
            )
            + "</span>\n"
            for line in render(document).split("\n")
        ]
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<html xmlns="http://www.w3.org/1999/xhtml"><head><title></title>'
            '<meta http-equiv="Content-Type" content="text/html;charset=utf-8"/>'
            '<meta name="ocr-capabilities" content="ocr_page ocr_line ocrx_word"/></head><body>\n'
            f"<div class='ocr_page'><p class='ocr_par'>{''.join(lines)}</p></div>\n"
            "</body></html>\n"
        )


def classes(element: Element) -> set[str]:
    """The classes of an element."""
    return set(element.attributes.get("class", "").split())


def with_class(element: Element, names: set[str]) -> Iterator[Element]:
    """The outermost elements below this one that have one of these classes."""
    for child in element.elements:
        if classes(child) & names:
            yield child
        else:
            yield from with_class(child, names)


def properties(element: Element) -> dict[str, str]:
    """Names and values in an element's title."""
    parts = (part.strip().partition(" ") for part in element.attributes.get("title", "").split(";"))
    return {name: value.strip() for name, _, value in parts if name}


@dataclass(frozen=True)
class Spans(File):
    """The words of a file."""

    def walk(self, element: Element, layout: Layout) -> None:
        """Reads all words below an element."""
        for child in element.elements:
            own = classes(child)
            if "ocrx_word" in own:
                self.word(child, layout)
                continue
            if own & LINES and next(with_class(child, {"ocrx_word"}), None) is None:
                layout.word(self.reading(child, list(child.runs())))
            self.walk(child, layout)
            if own & LINES:
                layout.end_line()
            elif own & BLOCKS:
                layout.end_block()

    def word(self, element: Element, layout: Layout) -> None:
        """A word with what is said of its characters."""
        infos = list(with_class(element, {"ocrx_cinfo"}))
        groups = [info for info in infos if next(with_class(info, {"ocrx_cinfo"}), None)]
        letters = [info for info in infos if info not in groups]
        own = list(outside(element))
        if letters and not "".join(run.text for run in own).strip():
            pieces = [self.reading(info, list(info.runs())) for info in letters]
            spans = np.concatenate([piece.spans for piece in pieces])
            text = "".join(piece.text for piece in pieces)
            word = Reading(text, spans, "xml", self.confidence(element, len(text)))
            told = [(piece.text, piece.confidence) for piece in pieces]
        else:
            word = self.reading(element, own)
            told = [(sign, None) for sign in word.text]
        if len(groups) != len(told):
            groups = [Element("")] * len(told)
        nowhere = np.zeros((0, 2), dtype=np.int64)  # the word's slot is the only one
        layout.word(
            word,
            [
                Reading(sign, nowhere, "xml", sure, self.choices(group))
                for (sign, sure), group in zip(told, groups, strict=True)
            ],
        )

    def reading(self, element: Element, runs: list[Run]) -> Reading:
        """The text of some runs, with the confidence that an element states."""
        if not runs:
            return Reading("", np.zeros((0, 2), np.int64), "xml")
        spans = np.concatenate([run.spans for run in runs])
        text, spans = stripped("".join(run.text for run in runs), spans)
        return Reading(text, spans, "xml", self.confidence(element, len(text)))

    def confidence(self, element: Element, count: int) -> float | list[float] | None:
        """Confidences of the characters, or of the word."""
        told = properties(element)
        each = (told.get("x_confs") or told.get("x_conf") or "").split()
        if each and len(each) == count:
            return [self.sure(element, value, 100, "x_confs") for value in each]
        if "x_wconf" in told:
            return self.sure(element, told["x_wconf"], 100, "x_wconf")
        return None

    def choices(self, info: Element) -> tuple[tuple[str, float | None], ...]:
        """Other readings of a character."""
        found = []
        for choice in with_class(info, {"ocrx_cinfo"}):
            sure = self.confidence(choice, 1)
            number = sure[0] if isinstance(sure, list) else sure
            found.append((choice.text.strip(), number))
        return tuple((text, sure) for text, sure in found if text)


def outside(element: Element) -> Iterator[Run]:
    """The runs of a word that are not inside elements for single characters."""
    for child in element.children:
        if isinstance(child, Run):
            yield child
        elif "ocrx_cinfo" not in classes(child):
            yield from outside(child)
