"""Texts as numbers from 0 to K − 1, and back.

Every token knows which characters of the text it stands for. So a text of which some tokens were
replaced is put together from its own characters wherever they were not, whatever a tokeniser does
to case, accents or Unicode form.

MASK is not a token here: the core counts it as K. Nothing that a text says becomes a special token,
be it ``<mask>`` or ``[MASK]``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import CheckpointError, InvalidOptionError
from sfumato.signals import Signal
from sfumato_text.files.documents import codes_of

__all__ = ["Encoded", "Tokeniser"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """A text in tokens.

    Args:
        text: The text.
        ids: Its tokens, ``[length]``.
        spans: First and last + 1 character of each, ``[length, 2]``; neighbours may share some.
    """

    text: str
    ids: Int[Tensor, " length"]
    spans: NDArray[np.int64]

    def groups(self) -> list[tuple[int, int]]:
        """Ranges of tokens that share no character with others."""
        found: list[tuple[int, int]] = []
        reach = -1
        for i, (start, end) in enumerate(self.spans.tolist()):
            if found and start < reach:
                found[-1] = (found[-1][0], i + 1)
            else:
                found.append((i, i + 1))
            reach = max(reach, end)
        return found


class Tokeniser(ABC):
    """A way to write texts as tokens.

    Attributes:
        name: What people type.
    """

    name: ClassVar[str] = ""

    @property
    @abstractmethod
    def tokens(self) -> int:
        """K: ids are 0 to K − 1."""

    @property
    @abstractmethod
    def pieces(self) -> tuple[str, ...]:
        """What each token stands for, for people to read."""

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Tokens that are no text and must never be produced."""
        return ()

    @abstractmethod
    def read(self, text: str) -> Encoded:
        """A text in tokens, with where each comes from.

        Raises:
            InvalidOptionError: If it cannot be written in them; names the characters and places.
        """

    def encode(self, text: str) -> Int[Tensor, " length"]:
        """A text in tokens."""
        return self.read(text).ids

    @abstractmethod
    def decode(self, ids: Int[Tensor, " length"] | Sequence[int]) -> str:
        """The text of tokens.

        Raises:
            InvalidOptionError: If a number is no token.
        """

    def to_signal(self, text: str) -> Signal:
        """A decoded text as a signal, ready to be written."""
        return Signal(codes_of(text))

    def rewrite(self, encoded: Encoded, ids: Int[Tensor, " length"]) -> str:
        """A text of which some tokens were replaced; the others keep their own characters.

        Args:
            encoded: The text.
            ids: Tokens, as many as it has.
        """
        if len(ids) != len(encoded.ids):
            raise InvalidOptionError(
                "tokens", f"{len(ids)} for a text of {len(encoded.ids)}", "give as many"
            )
        pieces, last = [], 0
        same = (ids.cpu() == encoded.ids).tolist()
        for first, end in encoded.groups():
            start, stop = encoded.spans[first:end, 0].min(), encoded.spans[first:end, 1].max()
            kept = all(same[first:end])
            pieces.append(encoded.text[last:start])
            pieces.append(encoded.text[start:stop] if kept else self.decode(ids[first:end]))
            last = stop
        return "".join([*pieces, encoded.text[last:]])

    def check_rows(self, rows: int, where: object, *, padded: bool = False) -> None:
        """Refuses a model made for other tokens.

        Args:
            rows: Tokens that the model knows, MASK counted or not.
            where: Named in the error.
            padded: Whether the model may have more rows than are used.

        Raises:
            CheckpointError: If they do not agree.
        """
        if rows in (self.tokens, self.tokens + 1) or (padded and rows > self.tokens):
            return
        raise CheckpointError(
            where, f"it knows {rows} tokens, but this tokeniser ({self.name}) has {self.tokens}",
            "use the tokeniser that the model was trained with",
        )  # fmt: skip

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON values, for a prior's folder; see ``from_dict``."""

    def check_ids(self, ids: Int[Tensor, " length"] | Sequence[int]) -> list[int]:
        """Numbers as a list, each a token."""
        values = ids.tolist() if isinstance(ids, Tensor) else list(ids)
        for place, value in enumerate(values):
            if not 0 <= value < self.tokens:
                raise InvalidOptionError(
                    f"token {place}", f"{value} is none", f"tokens are 0 to {self.tokens - 1}"
                )
        return values
