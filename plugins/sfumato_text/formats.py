"""Files that hold text, damaged or not.

Each format reads a file to a ``Signal`` and writes a ``Signal`` back as the same kind of file.
``data`` is int64: the Unicode code points of what can be read, with the signs of
``sfumato_text.files.documents`` for lost characters. ``meta`` holds

    document     the ``Document``: gaps, confidences, other readings, and where every character
                 stands in its file
    restoration  for writing: the ``Restoration`` of it; found by comparison if not given
    brackets     for writing: whether restored text is marked as such, by default it is

Line ends are line feeds in ``data`` and what they were in the file. Whatever is not changed is
written with the bytes that it was read from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sfumato.errors import UnreadableFileError, UnwritableFileError
from sfumato.signals import Signal
from sfumato_text.files.alto import ALTO
from sfumato_text.files.documents import Document
from sfumato_text.files.hocr import HOCR
from sfumato_text.files.markup import parse_xml
from sfumato_text.files.page import PAGE
from sfumato_text.files.plain import Text, TextFormat
from sfumato_text.files.reading import Decoded
from sfumato_text.files.records import Lines, Records, Table
from sfumato_text.files.tei import TEI

__all__ = ["ALTO", "FORMATS", "HOCR", "PAGE", "TEI", "XML", "Gzip", "Lines", "Table", "Text"]

ROOTS: dict[str, type[TEI | ALTO | PAGE]] = {
    "TEI": TEI, "TEI.2": TEI, "teiCorpus": TEI, "text": TEI, "div": TEI, "ab": TEI,
    "alto": ALTO, "PcGts": PAGE,
}  # fmt: skip
SUFFIXES: dict[str, type[TextFormat]] = {".tei": TEI, ".alto": ALTO, ".page": PAGE}
KINDS: dict[str, type[TextFormat]] = {kind.kind: kind for kind in (TEI, ALTO, PAGE)}


@dataclass(frozen=True)
class XML(TextFormat):
    """TEI (EpiDoc), ALTO or PAGE, told apart by the first element.

    What was read as one of them is written as the same; new files are TEI, unless the suffix says
    otherwise.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".xml", ".tei", ".alto", ".page")
    kind: ClassVar[str] = "xml"

    def parse(self, decoded: Decoded, path: Path) -> Document:
        root = parse_xml(decoded, path)
        if root.name not in ROOTS:
            raise UnreadableFileError(
                path, f"its first element is <{root.name}>", "expected TEI (EpiDoc), ALTO or PAGE"
            )
        return ROOTS[root.name](self.encoding).from_tree(root, decoded, path)

    def write(self, signal: Signal, path: Path) -> Path:
        suffix = Path(Path(path).name.removesuffix(".gz")).suffix.lower()
        return self.of(signal, suffix).write(signal, path)

    def compose(self, signal: Signal) -> bytes:
        return self.of(signal).compose(signal)

    def of(self, signal: Signal, suffix: str = "") -> TextFormat:
        """The format that a signal is written in."""
        held = signal.meta.get("document")
        source = held.source if isinstance(held, Document) else None
        kind = SUFFIXES.get(suffix) or KINDS.get(source.kind if source else "", TEI)
        return kind(self.encoding)

    def fresh(self, document: Document) -> str:
        return TEI().fresh(document)


@dataclass(frozen=True)
class Gzip(TextFormat):
    """Any of the other formats, packed: ``corpus.txt.gz``.

    Args:
        encoding: As in what is packed.
        field: As in records, if it is some.
    """

    field: str = ""

    suffixes: ClassVar[tuple[str, ...]] = (".gz",)
    kind: ClassVar[str] = "gzip"

    def read(self, path: Path) -> Signal:
        return self.inner(Path(path), UnreadableFileError).read(path)

    def write(self, signal: Signal, path: Path) -> Path:
        return self.inner(Path(path), UnwritableFileError).write(signal, path)

    def inner(
        self, path: Path, error: type[UnreadableFileError | UnwritableFileError]
    ) -> TextFormat:
        """The format of what is packed."""
        suffix = Path(path.stem).suffix.lower() or ".txt"
        for kind in FORMATS:
            if suffix in kind.suffixes and kind is not Gzip:
                if issubclass(kind, Records):
                    return kind(self.encoding, self.field)
                if self.field:
                    raise error(path, f"'{suffix}' files have no field; leave it out")
                return kind(self.encoding)
        known = ", ".join(f"{s}.gz" for kind in FORMATS for s in kind.suffixes if kind is not Gzip)
        raise error(path, f"no text format has suffix '{suffix}.gz'; known: {known}")

    def parse(self, decoded: Decoded, path: Path) -> Document:
        return self.inner(path, UnreadableFileError).parse(decoded, path)

    def fresh(self, document: Document) -> str:
        return Text().fresh(document)


FORMATS: tuple[type[TextFormat], ...] = (Text, Lines, Table, XML, HOCR, Gzip)
