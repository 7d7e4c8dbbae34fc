"""Finding and reading the texts to learn from.

A corpus is a file, a folder (with its sub-folders), a pattern such as ``letters/**/*.txt``, a
folder that ``datasets`` has saved, or the name of one that needs no files: ``pydoc`` is the
documentation of the Python language that comes with Python itself (465,048 characters in 3.11).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sfumato.errors import InvalidOptionError, UnreadableFileError
from sfumato_text.columns import SUFFIXES, read_column, saved
from sfumato_text.files.documents import Document, document_of
from sfumato_text.files.plain import TextFormat
from sfumato_text.files.records import Records
from sfumato_text.formats import FORMATS, Gzip

__all__ = ["BUILT_IN", "Piece", "find", "pydoc", "read_pairs", "read_texts"]

READERS = {suffix: kind for kind in FORMATS for suffix in kind.suffixes}


@dataclass(frozen=True)
class Piece:
    """A text of a corpus.

    Args:
        name: Where it comes from.
        text: All of it.
        sha256: Of its file; of the text if there is none.
    """

    name: str
    text: str
    sha256: str


def pydoc() -> str:
    """The topics of Python's own documentation, in alphabetical order."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


BUILT_IN = {"pydoc": pydoc}


def find(path: str | Path) -> list[Path]:
    """Text files below a folder, or those that a pattern names, sorted.

    Raises:
        UnreadableFileError: If there are none.
    """
    place = Path(path)
    if place.is_dir():
        if listed := saved(place):
            return listed
        candidates: Iterable[Path] = place.rglob("*")
    elif any(sign in str(path) for sign in "*?["):
        wild = [any(sign in part for sign in "*?[") for part in place.parts]
        first = wild.index(True)
        candidates = Path(*place.parts[:first]).glob(str(Path(*place.parts[first:])))
    else:
        candidates = [place]
    known = {*READERS, *SUFFIXES}
    found = sorted(p for p in candidates if p.is_file() and p.suffix.lower() in known)
    if found:
        return found
    if place.is_file() or place.is_dir():
        raise UnreadableFileError(path, f"there are no texts ({', '.join(sorted(known))})")
    names = ", ".join(BUILT_IN)
    raise UnreadableFileError(path, "there is no such file, folder or corpus", f"built in: {names}")


def read_texts(
    path: str | Path, *, field: str = "", encoding: str = "", drop: str = ""
) -> list[Piece]:
    """The texts of a corpus, file by file.

    Args:
        path: As above.
        field: Which field of JSON lines, tables and columns; found out if not given.
        encoding: Of files without a byte-order mark or declaration; UTF-8 if not given.
        drop: A regular expression; what it matches in each line is left out, as references of
            verses in ``Ge1:1 In the beginning``.

    Raises:
        UnreadableFileError: If a file cannot be read.
        InvalidOptionError: If ``drop`` is no regular expression.
        MissingDependencyError: If a file needs a package that is not installed.
    """
    if str(path) in BUILT_IN:
        text = BUILT_IN[str(path)]()
        return [Piece(str(path), text, hashlib.sha256(text.encode()).hexdigest())]
    try:
        pattern = re.compile(drop, re.MULTILINE)
    except re.error as error:
        raise InvalidOptionError(
            "corpus", f"drop='{drop}' at {error.pos}: {error.msg}", "write a regular expression"
        ) from error
    found = []
    for file in find(path):
        if file.suffix.lower() in SUFFIXES:
            text = read_column(file, field)
        else:
            text = read(file, field, encoding).text
        text = pattern.sub("", text) if drop else text
        found.append(Piece(str(file), text, hashlib.sha256(file.read_bytes()).hexdigest()))
    return found


def read(path: Path, field: str, encoding: str) -> Document:
    """A file as a document."""
    reader: TextFormat = READERS[path.suffix.lower()](encoding)
    if isinstance(reader, Gzip):
        reader = reader.inner(path, UnreadableFileError)
    if field and isinstance(reader, Records):
        reader = type(reader)(encoding, field)
    return document_of(reader.read(path))


def read_pairs(
    noisy: str | Path,
    clean: str | Path | None = None,
    *,
    source: str = "source",
    target: str = "target",
    encoding: str = "",
) -> list[tuple[str, str]]:
    """Pairs of noisy and clean text.

    Args:
        noisy: A table or JSON lines with both, or a text, a line for each pair.
        clean: The other text, if ``noisy`` is one.
        source: Field of the noisy text.
        target: Field of the clean text.
        encoding: As for ``read_texts``.

    Raises:
        UnreadableFileError: If a file cannot be read, or a field is missing.
        InvalidOptionError: If there are not as many noisy as clean texts.
    """
    if clean is None:
        both = [records(read(Path(noisy), name, encoding)) for name in (source, target)]
    else:
        both = [read(Path(path), "", encoding).text.splitlines() for path in (noisy, clean)]
    first, second = both
    if len(first) != len(second):
        raise InvalidOptionError(
            str(noisy), f"{len(first)} noisy and {len(second)} clean texts", "give as many of both"
        )
    return list(zip(first, second, strict=True))


def records(document: Document) -> list[str]:
    """The texts of a table."""
    if not document.records:
        return document.text.splitlines()
    return [document.text[start:end] for start, end in document.records]
