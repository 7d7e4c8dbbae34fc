"""What every reader does first: fetch the bytes, unpack them, find their encoding.

A byte-order mark decides; without one a file is UTF-8, or what its XML declaration says. Nothing is
guessed: bytes that are not of that encoding are an error that says where.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from sfumato.errors import UnreadableFileError

__all__ = ["LIMIT", "Decoded", "content_of", "decode", "encode", "place", "where"]

LIMIT = 256 * 2**20
"""Most bytes that are read or unpacked."""

MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Decoded(NamedTuple):
    """The text of a file, and how its bytes say it."""

    text: str
    encoding: str
    bom: bytes
    newline: str


def content_of(path: Path) -> bytes:
    """The bytes of a file, unpacked if its name ends in ``.gz``.

    Raises:
        UnreadableFileError: If it is missing, empty, too large or damaged.
    """
    try:
        if path.is_dir():
            raise UnreadableFileError(path, "it is a folder")
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except FileNotFoundError as error:
        raise UnreadableFileError(path, "there is no such file") from error
    except OSError as error:
        if isinstance(error, UnreadableFileError):
            raise
        raise UnreadableFileError(path, error.strerror or str(error)) from error
    if path.suffix.lower() == ".gz" and content:
        content = unpacked(content, path)
    if not content:
        raise UnreadableFileError(path, "it is empty", "give it some text")
    if len(content) > LIMIT:
        raise UnreadableFileError(path, f"it has more than {LIMIT >> 20} MiB", "split it")
    return content


def unpacked(content: bytes, path: Path) -> bytes:
    """What a gzip file holds."""
    try:
        found, rest = b"", content
        while rest:  # a gzip file may have several members
            stream = zlib.decompressobj(31)
            found += stream.decompress(rest, LIMIT + 1 - len(found))
            if len(found) > LIMIT:
                return found
            if not stream.eof:
                raise EOFError("its end is missing")
            rest = stream.unused_data.lstrip(b"\0")
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise UnreadableFileError(path, f"it is not a whole gzip file ({error})") from error
    return found


def decode(content: bytes, path: Path, encoding: str = "") -> Decoded:
    """Bytes as text.

    Args:
        content: All of a file.
        path: Named in errors.
        encoding: What to take it for if it has no byte-order mark; empty for UTF-8, or what an XML
            declaration says.

    Raises:
        UnreadableFileError: If the encoding is unknown or the bytes are not of it; names the place
            of the first that is not.
    """
    bom, name = next(((m, e) for m, e in MARKS if content.startswith(m)), (b"", encoding))
    name = name or declared(content) or "utf-8"
    body = content[len(bom) :]
    try:
        name = codecs.lookup(name).name
        text = body.decode(name)
    except LookupError as error:
        raise UnreadableFileError(
            path, f"unknown encoding '{name}'", "convert it to UTF-8"
        ) from error
    except UnicodeDecodeError as error:
        raise UnreadableFileError(path, *undecodable(body, name, error)) from error
    if "\0" in text:
        raise UnreadableFileError(
            path, f"there is a NUL character at {place(text, text.index(chr(0)))}",
            "it is no text, or UTF-16 without a byte-order mark: convert it to UTF-8",
        )  # fmt: skip
    if not text.strip("\ufeff \t\r\n"):
        raise UnreadableFileError(path, "there is nothing in it but blanks", "give it some text")
    if text.encode(name) != body:
        raise UnreadableFileError(
            path, f"its bytes are not the usual ones of {name}", "convert it to UTF-8"
        )
    return Decoded(text, name, bom, newline_of(text))


def undecodable(body: bytes, name: str, error: UnicodeDecodeError) -> tuple[str, str]:
    """What is wrong with bytes, and what to do."""
    before = body[: error.start].decode(name, errors="replace")
    why = f"byte 0x{body[error.start]:02X} at {place(before, len(before))} is not {name}"
    if body[1:40:2].count(0) > 10 or body[0:40:2].count(0) > 10:
        return why, "it looks like UTF-16 without a byte-order mark: convert it to UTF-8"
    return why, "if it is text in another encoding, convert it: iconv -f LATIN1 -t UTF-8"


def declared(content: bytes) -> str:
    """The encoding that an XML declaration names."""
    found = re.match(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)[\"']", content[:200])
    return found[1].decode("ascii") if found else ""


def newline_of(text: str) -> str:
    """What most lines end with."""
    counts = Counter(re.findall(r"\r\n|\r|\n", text))
    return counts.most_common(1)[0][0] if counts else "\n"


def encode(text: str, encoding: str, bom: bytes) -> bytes:
    """Text as bytes; characters that the encoding lacks become XML references."""
    return bom + text.encode(encoding, errors="xmlcharrefreplace")


def where(text: str, offset: int) -> tuple[int, int]:
    """Line and column of a place, both from 1."""
    before = text[:offset].replace("\r\n", "\n").replace("\r", "\n")
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1


def place(text: str, offset: int) -> str:
    """Line and column in words."""
    line, column = where(text, offset)
    return f"line {line}, column {column}"
