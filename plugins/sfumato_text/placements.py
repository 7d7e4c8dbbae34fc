"""Between documents and the core: gaps become places of unknown tokens, and tokens become changes.

A document with its gaps at chosen lengths is a row of tokens, known outside the gaps. Samples of
that row become a ``Restoration``: gaps are filled, and tokens that differ from what was read
replace their characters. Everything else is the document's own text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato_text.files.documents import Document
from sfumato_text.files.restorations import Change, Restoration
from sfumato_text.tokens import Encoded, Tokeniser

__all__ = ["Placement", "bounded", "place"]


@dataclass(frozen=True, eq=False)
class Placement:
    """A document as a row of tokens.

    Args:
        document: What was read.
        tokeniser: What it is written in.
        encoded: What was read, in tokens; gaps take no place.
        index: Which of the read tokens stands at each place, −1 in gaps, ``[length]``.
        gaps: First and last + 1 place of each gap.
    """

    document: Document
    tokeniser: Tokeniser
    encoded: Encoded
    index: Int[Tensor, " length"]
    gaps: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def known(self) -> Tensor:
        """Places outside gaps, ``[length]``."""
        return self.index >= 0

    @cached_property
    def tokens(self) -> Int[Tensor, " length"]:
        """What was read at each place, −1 in gaps."""
        if len(self.encoded.ids) == 0:
            return torch.full((len(self),), -1, dtype=torch.long)
        own = self.encoded.ids[self.index.clamp(min=0)]
        return torch.where(self.known, own, -1)

    @property
    def observed(self) -> list[str]:
        """The characters of what was read, token by token, as ``Channel.sites`` takes them."""
        pieces = self.tokeniser.pieces
        return [pieces[number] for number in self.encoded.ids.tolist()]

    def per_token(self, rows: Float[Tensor, "characters *x"]) -> Float[Tensor, "read *x"]:
        """Of one row for each character of the document, those of the read tokens' first ones."""
        return rows[torch.from_numpy(self.encoded.spans[:, 0])]

    def sites(
        self, seen: Float[Tensor, "read tokens"] | None = None
    ) -> Float[Tensor, "length tokens"]:
        """ln p(y_i | x_i = v) at every place.

        Args:
            seen: What each read token says, such as ``Channel.sites``; without it what was read is
                certain. Gaps say nothing but that no forbidden token is in them.

        Raises:
            ShapeError: If ``seen`` has not a row for each read token.
        """
        size = self.tokeniser.tokens
        if seen is not None and seen.shape != (len(self.encoded.ids), size):
            raise ShapeError("what was seen", seen.shape, f"{len(self.encoded.ids)}×{size}")
        found = torch.zeros(len(self), size, dtype=torch.float64)
        found[:, list(self.tokeniser.forbidden)] = -torch.inf
        where = self.known.nonzero()[:, 0]
        if seen is not None:
            found[where] = seen[self.index[where]].double()
        else:
            found[where] = -torch.inf
            found[where, self.tokens[where]] = 0.0
        return found

    def restoration(
        self,
        ids: Int[Tensor, " length"],
        *,
        marginals: Float[Tensor, "length tokens"] | None = None,
        alternatives: Sequence[Sequence[tuple[str, float]]] = (),
    ) -> Restoration:
        """The document with tokens in its gaps and in place of others.

        Args:
            ids: A token for every place.
            marginals: p(x_i = v | y): how likely each token is right.
            alternatives: Other texts for each gap, best first.

        Raises:
            ShapeError: If there is not a token for every place.
        """
        if ids.shape != self.index.shape:
            raise ShapeError("tokens", ids.shape, f"{len(self)}, one for each place")
        values = ids.cpu()
        sure = None
        if marginals is not None:
            sure = marginals.cpu().gather(1, values.unsqueeze(1))[:, 0].double().clamp(0, 1)
        changes = [*self.fillings(values, sure, alternatives), *self.corrections(values, sure)]
        return Restoration(self.document, tuple(changes))

    def fillings(
        self, ids: Tensor, sure: Tensor | None, alternatives: Sequence[Sequence[tuple[str, float]]]
    ) -> list[Change]:
        """What fills the gaps that are asked for."""
        found = []
        for number, (gap, (first, last)) in enumerate(
            zip(self.document.gaps, self.gaps, strict=True)
        ):
            if gap.asked:
                text, told = self.written(ids, sure, list(range(first, last)))
                others = tuple(alternatives[number]) if alternatives else ()
                found.append(Change(gap.start, gap.start, text, told, others, number))
        return found

    def corrections(self, ids: Tensor, sure: Tensor | None) -> list[Change]:
        """Read tokens that are replaced, with all that share their characters."""
        where = torch.full((len(self.encoded.ids),), -1, dtype=torch.long)
        where[self.index[self.known]] = self.known.nonzero()[:, 0]
        same = (ids[where] == self.encoded.ids).tolist()
        found = []
        for first, last in self.encoded.groups():
            if not all(same[first:last]):
                start = int(self.encoded.spans[first:last, 0].min())
                end = int(self.encoded.spans[first:last, 1].max())
                text, told = self.written(ids, sure, where[first:last].tolist())
                found.append(Change(start, end, text, told))
        return found

    def written(
        self, ids: Tensor, sure: Tensor | None, places: list[int]
    ) -> tuple[str, tuple[float, ...]]:
        """The text of some tokens, with the probability of each character."""
        text = self.tokeniser.decode(ids[places])
        if sure is None:
            return text, ()
        own = [len(self.tokeniser.decode(ids[[at]])) for at in places]
        if sum(own) != len(text):  # bytes of one character
            return text, (float(sure[places].min()),) * len(text)
        told = [float(sure[at]) for at, size in zip(places, own, strict=True) for _ in range(size)]
        return text, tuple(told)


def place(
    document: Document, tokeniser: Tokeniser, lengths: Sequence[int] | None = None
) -> Placement:
    """A document as a row of tokens.

    Args:
        document: What was read.
        tokeniser: What to write it in.
        lengths: Tokens of each gap; the number of lost characters where that is known.

    Raises:
        InvalidOptionError: If a gap has no known length and none is given, or the text has
            characters that the tokeniser lacks.
    """
    sizes = known_lengths(document) if lengths is None else list(lengths)
    if len(sizes) != len(document.gaps) or min(sizes, default=0) < 0:
        raise InvalidOptionError(
            "gaps", f"{len(sizes)} lengths for {len(document.gaps)} gaps", "give one for each"
        )
    index: list[int] = []
    gaps: list[tuple[int, int]] = []
    ids, spans, last = [torch.zeros(0, dtype=torch.long)], [np.zeros((0, 2), dtype=np.int64)], 0
    count = 0
    for start, size in [*zip([gap.start for gap in document.gaps], sizes, strict=True), (None, 0)]:
        piece = tokeniser.read(document.text[last:start])
        ids.append(piece.ids)
        spans.append(piece.spans + last)
        index += range(count, count + len(piece.ids))
        count += len(piece.ids)
        if start is not None:
            gaps.append((len(index), len(index) + size))
            index += [-1] * size
            last = start
    encoded = Encoded(document.text, torch.cat(ids), np.concatenate(spans))
    return Placement(
        document, tokeniser, encoded, torch.tensor(index, dtype=torch.long), tuple(gaps)
    )


def bounded(document: Document, longest: int) -> Document:
    """The document with a largest length for every gap that has none.

    Args:
        document: With gaps.
        longest: Most characters of any gap.

    Raises:
        InvalidOptionError: If a gap has more at least; names the gap and the text before it.
    """
    gaps = []
    for number, gap in enumerate(document.gaps):
        if gap.minimum > longest:
            before = document.text[max(gap.start - 20, 0) : gap.start]
            raise InvalidOptionError(
                f"gap {number}, after '{before}'",
                f"{gap.minimum} characters are missing, more than {longest}",
                "raise the maximum or fill a part of it yourself",
            )
        most = longest if gap.maximum is None else min(gap.maximum, longest)
        gaps.append(replace(gap, maximum=most))
    return replace(document, gaps=tuple(gaps))


def known_lengths(document: Document) -> list[int]:
    """Lost characters of each gap.

    Raises:
        InvalidOptionError: If nobody knows.
    """
    for number, gap in enumerate(document.gaps):
        if not gap.fixed:
            most = "any number" if gap.maximum is None else f"{gap.maximum}"
            raise InvalidOptionError(
                f"gap {number}", f"it has {gap.minimum} to {most} of characters",
                "choose a length for it",
            )  # fmt: skip
    return [gap.minimum for gap in document.gaps]
