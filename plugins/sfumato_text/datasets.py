"""Texts as training data: windows of a fixed number of tokens.

An item is a window of one stretch of text, at a place drawn from the generator it is given and from
nothing else. Every n-th block of lines is held out (of 20 lines each, the 20th with the defaults),
so that both sides are spread over the corpus, and no window reaches over a block of the other side.
Stretches shorter than a window are joined by line ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato_text.corpora import read_texts
from sfumato_text.files.documents import codes_of
from sfumato_text.tokens import Tokeniser

__all__ = ["Texts", "split_blocks"]


@dataclass(frozen=True, eq=False)
class Side:
    """The training or the held-out part.

    Args:
        texts: Stretches of text.
        rows: The same as numbers, each at least as long as a window unless there is only one.
        windows: How many windows fit into each row, one at least; ends of a running sum.
    """

    texts: tuple[str, ...]
    rows: tuple[NDArray[np.int32], ...]
    windows: NDArray[np.int64]


class Texts:
    """Random windows of texts.

    Args:
        path: A file, a folder, a pattern or a built-in corpus (``sfumato_text.corpora``).
        length: Tokens of an item.
        codec: The tokeniser that turns text into tokens, that of the prior to be trained; without
            one items are Unicode code points.
        field: Which field of JSON lines and tables; found out if not given.
        encoding: Of files without a byte-order mark or declaration; UTF-8 if not given.
        drop: A regular expression; what it matches in each line is left out.
        block: Lines of a block.
        validation: Share of the blocks that is held out, in [0, 1).

    Attributes:
        text: The training text, stretches joined by line ends: for counts and alphabets.

    Raises:
        InvalidOptionError: If an option makes no sense, the corpus is shorter than a window, or it
            has characters that the tokeniser lacks.
        UnreadableFileError: If a file cannot be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        length: int = 128,
        codec: Tokeniser | None = None,
        field: str = "",
        encoding: str = "",
        drop: str = "",
        block: int = 20,
        validation: float = 0.05,
    ) -> None:
        check_options(length, block, validation)
        self.length, self.codec = length, codec
        self.pieces = read_texts(path, field=field, encoding=encoding, drop=drop)
        train, held = split_blocks(
            [piece.text for piece in self.pieces], block=block, validation=validation
        )
        self.side = self.sided(train, path)
        self.held: Side | None = self.sided(held, path) if held else None

    def __len__(self) -> int:
        return int(self.side.windows[-1])

    def __repr__(self) -> str:
        unit = "code points" if self.codec is None else f"tokens ({self.codec.name})"
        return f"Texts({len(self)} windows of {self.length} {unit})"

    @property
    def text(self) -> str:
        return "\n".join(self.side.texts)

    def validation(self) -> Texts | None:
        """The held-out blocks as a set of their own; ``None`` if there are none."""
        if self.held is None:
            return None
        other = object.__new__(Texts)
        other.__dict__ |= self.__dict__
        other.side, other.held = self.held, None
        return other

    def item(self, index: int, generator: torch.Generator | None = None) -> Tensor:
        """A window, int64 ``[length]``.

        Args:
            index: From 0 to ``len(self) - 1``; it says which stretch the window is from.
            generator: A CPU generator that says where it begins; without one, windows follow each
                other.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} windows")
        number = int(np.searchsorted(self.side.windows, index, side="right"))
        row = self.side.rows[number]
        last = len(row) - self.length
        if generator is not None:
            start = int(torch.randint(last + 1, (), generator=generator))
        else:
            before = int(self.side.windows[number - 1]) if number else 0
            start = min((index - before) * self.length, last)
        return torch.from_numpy(row[start : start + self.length].astype(np.int64))

    def __getitem__(self, index: int) -> Tensor:
        return self.item(index)

    @property
    def card(self) -> dict[str, Any]:
        """What a prior trained on this set should say about it."""
        digest = hashlib.sha256()
        for piece in self.pieces:
            digest.update(f"{Path(piece.name).name} {piece.sha256}\n".encode())
        return {
            "files": len(self.pieces),
            "characters": sum(len(text) for text in self.side.texts),
            "held_out": 0 if self.held is None else sum(len(text) for text in self.held.texts),
            "length": self.length,
            "tokeniser": "code points" if self.codec is None else self.codec.name,
            "sha256": digest.hexdigest(),
        }

    def sided(self, stretches: Sequence[str], path: str | Path) -> Side:
        """Stretches as numbers, the short ones joined."""
        texts = tuple(joined(stretches, self.length, lambda text: len(self.numbers(text))))
        rows = [self.numbers(text) for text in texts]
        kept = [row for row in rows if len(row) >= self.length]
        if not kept:
            raise InvalidOptionError(
                str(path), f"it has {max(map(len, rows), default=0)} tokens in a row, "
                f"a window {self.length}", "choose a smaller length or a longer corpus",
            )  # fmt: skip
        windows = np.cumsum([len(row) // self.length for row in kept])
        return Side(texts, tuple(kept), windows)

    def numbers(self, text: str) -> NDArray[np.int32]:
        """A stretch as numbers."""
        ids = codes_of(text) if self.codec is None else self.codec.encode(text)
        return ids.numpy().astype(np.int32)


def check_options(length: int, block: int, validation: float) -> None:
    for what, value in (("length", length), ("block", block)):
        if value < 1:
            raise InvalidOptionError("texts", f"{what}={value}", "use 1 or more")
    if not 0 <= validation <= 0.5:
        raise InvalidOptionError("texts", f"validation={validation}", "use 0 to 0.5")


def split_blocks(
    texts: Iterable[str], *, block: int = 20, validation: float = 0.05
) -> tuple[list[str], list[str]]:
    """Training and held-out stretches.

    Blocks are counted over all texts; every n-th is held out, n = 1/``validation``. Neighbouring
    blocks of one side stay together. A corpus with fewer blocks than n gives its last one, and one
    of a single block the last part of its characters.

    Args:
        texts: The corpus.
        block: Lines of a block.
        validation: Share that is held out.
    """
    blocks = [
        (number, "".join(lines[first : first + block]))
        for number, lines in enumerate(text.splitlines(keepends=True) for text in texts)
        for first in range(0, len(lines), block)
    ]
    if validation == 0 or not blocks:
        return merged([(*b, False) for b in blocks], False), []
    every = max(2, round(1 / validation))
    if len(blocks) == 1:
        text = blocks[0][1]
        cut = round(len(text) * (1 - validation))
        return [text[:cut]], [text[cut:]]
    last = len(blocks) - 1 if len(blocks) < every else -1
    marked = [
        (number, text, place % every == every - 1 or place == last)
        for place, (number, text) in enumerate(blocks)
    ]
    return merged(marked, False), merged(marked, True)


def merged(blocks: Iterable[tuple[int, str, bool]], side: bool) -> list[str]:
    """Blocks of one side; neighbours in one text together."""
    found: list[list[str]] = []
    before: tuple[int, bool] | None = None
    for number, text, out in blocks:
        if out == side:
            if before == (number, side):
                found[-1].append(text)
            else:
                found.append([text])
        before = (number, out)
    return ["".join(parts) for parts in found]


def joined(stretches: Iterable[str], length: int, size: Callable[[str], int]) -> list[str]:
    """Stretches with those shorter than a window joined to their neighbours."""
    found: list[list[str]] = []
    room = 0
    for stretch in stretches:
        text = stretch.rstrip("\n")
        if room > 0:
            found[-1].append(text)
        else:
            found.append([text])
            room = length
        # a token may stand for many characters, but text as long as this is long enough
        room -= len(text) if len(text) > 16 * length else size(text)
    if room > 0 and len(found) > 1:
        found[-2:] = [[*found[-2], *found[-1]]]
    return ["\n".join(parts) for parts in found]
