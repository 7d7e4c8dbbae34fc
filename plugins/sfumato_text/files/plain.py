"""Plain text and Markdown, packed or not; and what all formats of this plugin have in common.

A text file is taken as it is: brackets in it are brackets. What marks gaps is a matter of the
notation that a person names (``sfumato_text.files.notations``).
"""

from __future__ import annotations

import gzip
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.files import atomic_file
from sfumato.signals import Signal
from sfumato_text.files.documents import Document, Gap, Slot, Source, document_of, signal_of
from sfumato_text.files.patching import patch
from sfumato_text.files.reading import Decoded, content_of, decode, encode
from sfumato_text.files.restorations import Change, Restoration, restoration_of

__all__ = ["Text", "TextFormat", "plain_spans"]


@dataclass(frozen=True)
class TextFormat(ABC):
    """A kind of text file.

    Args:
        encoding: What files without a byte-order mark or declaration are in; UTF-8 if not given.

    Attributes:
        suffixes: Lower-case, with the dot.
        kind: Name in ``Source.kind``.
        prefixes: Whether any beginning of a file is a file.
    """

    encoding: str = ""
    suffixes: ClassVar[tuple[str, ...]] = ()
    kind: ClassVar[str] = ""
    prefixes: ClassVar[bool] = False

    def read(self, path: Path) -> Signal:
        """Reads a file.

        Raises:
            UnreadableFileError: Naming the path and, where there is one, line and column.
        """
        path = Path(path)
        decoded = decode(content_of(path), path, self.encoding)
        return signal_of(self.parse(decoded, path), path)

    def write(self, signal: Signal, path: Path) -> Path:
        """Writes a signal: into the file that it was read from, or a new one of this kind.

        Raises:
            UnwritableFileError: If the folder cannot be written.
        """
        path = Path(path)
        content = self.compose(signal)
        if path.suffix.lower() == ".gz":
            content = gzip.compress(content, mtime=0)
        with atomic_file(path) as work:
            work.write_bytes(content)
        return path

    def compose(self, signal: Signal) -> bytes:
        """The bytes of a file."""
        restoration = restoration_of(signal)
        source = None if restoration is None else restoration.document.source
        if restoration is None or source is None or source.kind != self.kind:
            return self.fresh(document_of(signal)).encode()
        brackets = bool(signal.meta.get("brackets", True))
        text = self.patched(restoration, brackets)
        return encode(text, source.encoding, source.bom)

    def patched(self, restoration: Restoration, brackets: bool) -> str:
        """The source with a restoration in it."""

        def fill(gap: Gap, change: Change) -> str:
            return change.text

        return patch(restoration, fill, unmark=not brackets)

    @abstractmethod
    def parse(self, decoded: Decoded, path: Path) -> Document:
        """The document in a decoded file."""

    @abstractmethod
    def fresh(self, document: Document) -> str:
        """A new file that holds a document."""

    def source(self, decoded: Decoded, delimiter: str = "") -> Source:
        """The description of a decoded file."""
        text, encoding, bom, newline = decoded
        return Source(text, self.kind, encoding, bom, newline, delimiter)


@dataclass(frozen=True)
class Text(TextFormat):
    """Plain text and Markdown."""

    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".md")
    kind: ClassVar[str] = "text"
    prefixes: ClassVar[bool] = True

    def parse(self, decoded: Decoded, path: Path) -> Document:
        text, spans = plain_spans(decoded.text)
        return Document(text, slots=(Slot(0, spans),), source=self.source(decoded))

    def fresh(self, document: Document) -> str:
        from sfumato_text.files.notations import render

        return render(document)


def plain_spans(source: str, offset: int = 0) -> tuple[str, NDArray[np.int64]]:
    """A text with its line ends as line feeds, and where each of its characters stands."""
    text = source.replace("\r\n", "\n")
    starts = np.arange(len(source))
    if len(text) != len(source):
        inside = np.array([source.startswith("\r\n", i - 1) for i in range(1, len(source))])
        starts = starts[np.concatenate([[True], ~inside])]
    ends = np.append(starts[1:], len(source))
    return text.replace("\r", "\n"), np.stack([starts, ends], axis=1) + offset
