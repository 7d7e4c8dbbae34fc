"""XML and HTML with the place of everything in the source.

Files are changed a few characters at a time, so a parser has to say where those are. Expat says
where each tag and each piece of text begins; Python's own HTML parser does so for files that are
not well formed. Entities are not expanded: a file that declares any is refused, and nothing that it
points to is fetched.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import UnreadableFileError
from sfumato_text.files.reading import Decoded, place

__all__ = ["Element", "Run", "attribute_spans", "parse_html", "parse_xml"]

DEEPEST = 200
ENTITY = re.compile(r"&[^;\s&]*;|\r\n|.", re.DOTALL)
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


@dataclass(frozen=True, eq=False)
class Run:
    """Characters between tags.

    Args:
        text: What they say.
        spans: Where each stands, ``[n, 2]``.
    """

    text: str
    spans: NDArray[np.int64]


@dataclass(eq=False)
class Element:
    """An element of the tree.

    Args:
        name: Without its prefix.
        namespace: Its address; empty for none.
        attributes: Names without prefixes.
        start: Where its first tag begins.
        inside: Where that tag ends.
        end: Where its last tag ends.
        children: Elements and runs of characters, in order.
    """

    name: str
    namespace: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    start: int = 0
    inside: int = 0
    end: int = 0
    children: list[Element | Run] = field(default_factory=list)

    @property
    def elements(self) -> list[Element]:
        """The children that are elements."""
        return [child for child in self.children if isinstance(child, Element)]

    def find(self, *names: str) -> Iterator[Element]:
        """The outermost elements of these names below this one."""
        for child in self.elements:
            if child.name in names:
                yield child
            else:
                yield from child.find(*names)

    def runs(self) -> Iterator[Run]:
        """All characters below it."""
        for child in self.children:
            if isinstance(child, Run):
                yield child
            else:
                yield from child.runs()

    @property
    def text(self) -> str:
        """All characters below it."""
        return "".join(run.text for run in self.runs())


class Refused(Exception):  # noqa: N818
    """Something in a file that is not read, and what to do about it."""


def parse_xml(decoded: Decoded, path: Path) -> Element:
    """The tree of a well-formed file.

    Raises:
        UnreadableFileError: If it is not well formed (names line and column), declares entities or
            is nested too deeply.
    """
    source = decoded.text
    content = source.encode("utf-8", errors="surrogatepass")
    offsets = starts_of(source, content)
    parser = expat.ParserCreate("utf-8", " ")
    tree = Tree(source)

    def now() -> int:
        return int(offsets[parser.CurrentByteIndex])

    def start(name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(" ")
        own = {key.rpartition(" ")[2]: value for key, value in attributes.items()}
        if len(tree.open) > DEEPEST:
            raise Refused(f"elements are nested more than {DEEPEST} deep")
        tree.start(Element(local, namespace, own, now(), tag_end(source, now())))

    def end(_: str) -> None:
        # the end of an empty element is reported where another's last tag may begin
        last = tree.open[-1]
        tree.finish(now(), tagged=not source.endswith("/>", last.start, last.inside))

    def refuse(*_: object) -> None:
        raise Refused("it declares entities, which are not expanded")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda text: tree.characters(text, now())
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        why = expat.errors.messages.get(error.code, "not well formed")
        where = f"line {error.lineno}, column {error.offset + 1}"
        raise UnreadableFileError(path, f"{where}: {why}") from error
    except Refused as error:
        fix = "resolve them first" if "entities" in str(error) else ""
        raise UnreadableFileError(path, f"{place(source, now())}: {error}", fix) from error
    return tree.root.elements[0]


def starts_of(source: str, content: bytes) -> NDArray[np.int64]:
    """Which character begins at each byte of the UTF-8 text (and one entry for its end)."""
    raw = np.frombuffer(content, dtype=np.uint8)
    begins = (raw & 0xC0) != 0x80
    return np.append(np.cumsum(begins) - 1, len(source)).astype(np.int64)


@dataclass
class Tree:
    """A tree as it grows."""

    source: str
    root: Element = field(default_factory=lambda: Element(""))
    open: list[Element] = field(default_factory=list)
    pending: list[Run] = field(default_factory=list)
    """Characters since the last tag, as the parser hands them out."""

    def __post_init__(self) -> None:
        self.open.append(self.root)

    def flush(self) -> None:
        if self.pending:
            text = "".join(run.text for run in self.pending)
            spans = np.concatenate([run.spans for run in self.pending])
            self.open[-1].children.append(Run(text, spans))
            self.pending = []

    def start(self, element: Element) -> None:
        self.flush()
        self.open[-1].children.append(element)
        self.open.append(element)

    def finish(self, at: int, *, tagged: bool) -> None:
        """Ends the innermost element; ``tagged`` if its last tag stands there."""
        self.flush()
        closed = self.open.pop()
        closed.end = self.source.index(">", at) + 1 if tagged else max(at, closed.inside)

    def characters(self, text: str, at: int) -> None:
        self.pending.append(Run(text, text_spans(self.source, text, at)))


def text_spans(source: str, text: str, at: int) -> NDArray[np.int64]:
    """Where the characters of a run stand that begins at ``at``."""
    if source.startswith(text, at) and "\r" not in text and not text.startswith("&"):
        starts = np.arange(at, at + len(text))
        return np.stack([starts, starts + 1], axis=1)
    found: list[tuple[int, int]] = []
    while len(found) < len(text):
        match = ENTITY.match(source, at)
        assert match is not None
        plain = len(match[0]) == 1 or match[0] == "\r\n"
        count = 1 if plain else max(1, len(html.unescape(match[0])))
        found += [match.span()] * count
        at = match.end()
    return np.array(found[: len(text)], dtype=np.int64).reshape(-1, 2)


def tag_end(source: str, at: int) -> int:
    """Where the tag that begins at ``at`` ends."""
    match = re.compile(r"<(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>").match(source, at)
    return source.index(">", at) + 1 if match is None else match.end()


def attribute_spans(source: str, element: Element, name: str) -> NDArray[np.int64]:
    """Where each character of an attribute's value stands.

    Attributes are found by their name without prefix, as in ``Element``.
    """
    tag = source[element.start : element.inside]
    pattern = rf"[\s:]{re.escape(name)}\s*=\s*(?:\"([^\"]*)\"|'([^']*)')"
    match = re.search(pattern, tag, re.IGNORECASE)
    if match is None:
        return np.zeros((0, 2), dtype=np.int64)
    group = 1 if match[1] is not None else 2
    return text_spans(source, element.attributes[name], element.start + match.start(group))


class Pages(HTMLParser):
    """Builds a tree from HTML, well formed or not."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        self.tree = Tree(source)
        self.lines = [0, *(m.end() for m in re.finditer("\n", source))]

    def now(self) -> int:
        line, column = self.getpos()
        return self.lines[line - 1] + column

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        written = self.get_starttag_text() or ""
        own = {key: value or "" for key, value in attrs}
        at = self.now()
        self.tree.start(Element(tag, "", own, at, at + len(written)))
        if tag in VOID or written.endswith("/>"):
            self.tree.finish(at, tagged=False)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)  # not an end as well, which would end another element

    def handle_endtag(self, tag: str) -> None:
        names = [element.name for element in self.tree.open[1:]]
        if tag in names:
            while self.tree.open[-1].name != tag:
                self.tree.finish(self.now(), tagged=False)
            self.tree.finish(self.now(), tagged=True)

    def handle_data(self, data: str) -> None:
        self.tree.characters(data, self.now())

    def handle_entityref(self, name: str) -> None:
        self.reference(f"&{name};")

    def handle_charref(self, name: str) -> None:
        self.reference(f"&#{name};")

    def reference(self, written: str) -> None:
        text = html.unescape(written)
        self.tree.characters(text, self.now())


def parse_html(decoded: Decoded, path: Path) -> Element:
    """The tree of an HTML file; its root is nameless.

    Raises:
        UnreadableFileError: If a tag is cut off.
    """
    pages = Pages(decoded.text)
    pages.feed(decoded.text)
    if pages.rawdata.strip():
        at = len(decoded.text) - len(pages.rawdata)
        raise UnreadableFileError(path, f"{place(decoded.text, at)}: the file is cut off here")
    while len(pages.tree.open) > 1:
        pages.tree.finish(len(decoded.text), tagged=False)
    pages.tree.flush()
    return pages.tree.root
