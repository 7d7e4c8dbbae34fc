"""Tables of texts: one JSON object a line, or the columns of a CSV file.

The text is one field of every record, the one that ``field`` names, or the first of the usual names
(``text``, ``content``, ``body``, …), or the only one that holds text. Records are set apart by a
line end that belongs to none of them. All other fields, and the way they are written, stay.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import UnreadableFileError
from sfumato_text.files.documents import Document, Slot
from sfumato_text.files.notations import render
from sfumato_text.files.plain import TextFormat
from sfumato_text.files.reading import Decoded, place

__all__ = ["FIELDS", "Lines", "Table", "Value", "table_rows"]

FIELDS = ("text", "content", "body", "sentence", "transcription", "source", "input")
"""Names under which texts are looked for, in this order."""


class Value(NamedTuple):
    """A field of a record.

    Args:
        text: What it says.
        spans: Where each of its characters stands, ``[n, 2]``.
        kind: How it is written there.
    """

    text: str
    spans: NDArray[np.int64]
    kind: str


@dataclass(frozen=True)
class Records(TextFormat):
    """A file of records of which one field is the text.

    Args:
        encoding: What files without a byte-order mark are in; UTF-8 if not given.
        field: Name of the field; found out if not given.
    """

    field: str = ""

    def parse(self, decoded: Decoded, path: Path) -> Document:
        rows = list(self.rows(decoded.text, path))
        name = self.field or chosen(rows, path)
        pieces, slots, records, length = [], [], [], 0
        for row in rows:
            if name not in row:
                continue
            value = row[name]
            records.append((length, length + len(value.text)))
            if value.text:
                slots.append(Slot(length, value.spans, value.kind))
            pieces.append(value.text)
            length += len(value.text) + 1
        if not slots:
            known = ", ".join(sorted({key for row in rows for key in row}))
            raise UnreadableFileError(
                path, f"no record has text in '{name}'", f"fields with text: {known or 'none'}"
            )
        source = self.source(decoded, delimiter_of(decoded.text, path))
        return Document(
            "\n".join(pieces), records=tuple(records), slots=tuple(slots), source=source
        )

    @abstractmethod
    def rows(self, text: str, path: Path) -> Iterator[dict[str, Value]]:
        """The fields that hold text, record by record."""


@dataclass(frozen=True)
class Lines(Records):
    """JSON lines."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson")
    kind: ClassVar[str] = "jsonl"

    def rows(self, text: str, path: Path) -> Iterator[dict[str, Value]]:
        for line in re.finditer(r"[^\r\n]+", text):
            if line[0].strip():
                yield dict(members(text, line.start(), line.end(), path))

    def fresh(self, document: Document) -> str:
        name = self.field or FIELDS[0]
        return "".join(
            json.dumps({name: part}, ensure_ascii=False) + "\n" for part in parts(document)
        )


def members(text: str, start: int, end: int, path: Path) -> Iterator[tuple[str, Value]]:
    """Names and values of the strings in a JSON object on one line.

    Raises:
        UnreadableFileError: If the line is no JSON object; names the place.
    """
    line = text[start:end]
    try:
        whole = json.loads(line)
    except json.JSONDecodeError as error:
        where = place(text, start + error.pos)
        raise UnreadableFileError(path, f"{where}: {error.msg.lower()}") from error
    if not isinstance(whole, dict):
        raise UnreadableFileError(path, f"{place(text, start)}: expected an object like {{…}}")
    blank = re.compile(r"\s*")
    decoder = json.JSONDecoder()

    def skip(at: int) -> int:
        found = blank.match(line, at)
        return at if found is None else found.end()

    at = skip(skip(0) + 1)
    while line[at] != "}":
        key, at = decoder.raw_decode(line, at)
        at = skip(skip(at) + 1)  # over the colon
        value, after = decoder.raw_decode(line, at)
        if isinstance(value, str):
            yield key, Value(value, json_spans(line[at + 1 : after - 1], start + at + 1), "json")
        at = skip(after)
        if line[at] == ",":
            at = skip(at + 1)


ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]",
    re.DOTALL,
)


def json_spans(raw: str, offset: int) -> NDArray[np.int64]:
    """Where each character of a JSON string stands."""
    found = [match.span() for match in ESCAPE.finditer(raw)]
    return np.array(found, dtype=np.int64).reshape(-1, 2) + offset


@dataclass(frozen=True)
class Table(Records):
    """CSV and TSV, with a line of names first."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv")
    kind: ClassVar[str] = "csv"
    prefixes: ClassVar[bool] = True

    def rows(self, text: str, path: Path) -> Iterator[dict[str, Value]]:
        lines = table_rows(text, delimiter_of(text, path), path)
        names = [value.text for value in next(lines)]
        if len(set(names)) != len(names):
            raise UnreadableFileError(path, "line 1: two columns have the same name")
        for row in lines:
            if len(row) != len(names):
                raise UnreadableFileError(
                    path,
                    f"{place(text, int(row[0].spans[0, 0]) if len(row[0].spans) else 0)}: "
                    f"{len(row)} cells, but {len(names)} columns",
                )
            yield dict(zip(names, row, strict=True))

    def fresh(self, document: Document) -> str:
        name = self.field or FIELDS[0]
        rows = ['"' + part.replace('"', '""') + '"' for part in parts(document)]
        return "\n".join([name, *rows]) + "\n"


def table_rows(text: str, delimiter: str, path: Path) -> Iterator[list[Value]]:
    """The cells of a table, row by row; empty lines are left out.

    Raises:
        UnreadableFileError: If a quoted cell is not closed, or goes on after its quotes.
    """
    bare = re.compile(rf"[^{re.escape(delimiter)}\r\n]*")
    at, row = 0, list[Value]()
    while at <= len(text):
        if text.startswith('"', at):
            end = at + 1
            while (end := text.find('"', end)) >= 0 and text.startswith('""', end):
                end += 2
            if end < 0:
                raise UnreadableFileError(path, f"{place(text, at)}: these quotes never end")
            row.append(quoted(text[at + 1 : end], at + 1))
            at = end + 1
        else:
            match = bare.match(text, at)
            assert match is not None
            spans = np.arange(match.start(), match.end())
            row.append(Value(match[0], np.stack([spans, spans + 1], axis=1), "bare"))
            at = match.end()
        if text.startswith(delimiter, at):
            at += 1
            continue
        newline = re.compile(r"\r\n|\r|\n").match(text, at)
        if newline is None and at < len(text):
            raise UnreadableFileError(path, f"{place(text, at)}: the cell goes on after its quotes")
        if len(row) > 1 or row[0].text or row[0].kind == "cell":
            yield row
        row = []
        at = len(text) + 1 if newline is None else newline.end()


def quoted(raw: str, offset: int) -> Value:
    """A cell in quotes."""
    found = [match.span() for match in re.finditer(r'""|\r\n|.', raw, re.DOTALL)]
    text = raw.replace('""', '"').replace("\r\n", "\n")
    return Value(text, np.array(found, dtype=np.int64).reshape(-1, 2) + offset, "cell")


def delimiter_of(text: str, path: Path) -> str:
    """What stands between columns: a tab in ``.tsv``, else what the first line has most of."""
    if ".tsv" in path.suffixes:
        return "\t"
    head = re.sub(r'"(?:[^"]|"")*"', "", text.partition("\n")[0])
    return max(",;\t|", key=head.count)


def chosen(rows: Iterable[dict[str, Value]], path: Path) -> str:
    """The field that holds the text; numbers are none.

    Raises:
        UnreadableFileError: If that is not clear.
    """
    filled: dict[str, bool] = {}  # whether any of its values has a letter
    for row in rows:
        for name, value in row.items():
            if value.text.strip():
                filled[name] = filled.get(name, False) or any(map(str.isalpha, value.text))
    usual = next((name for name in FIELDS if name in filled), None)
    worded = [name for name, words in filled.items() if words]
    if usual is None and len(worded) != 1:
        raise UnreadableFileError(
            path, f"which field is the text? found: {', '.join(sorted(worded)) or 'none'}",
            f"name it '{FIELDS[0]}'",
        )  # fmt: skip
    return usual or worded[0]


def parts(document: Document) -> list[str]:
    """The texts of a document's records."""
    if not document.records or document.gaps:
        return [render(document)]
    return [document.text[start:end] for start, end in document.records]
