"""What is known of single characters, as ln p(y_i | x_i = v)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.errors import UnsupportedError
from sfumato_text.alphabets import check_known, clusters, composed, stand_in
from sfumato_text.files.documents import Document
from sfumato_text.tokenisers import Characters
from sfumato_text.tokens import Encoded

__all__ = ["FOREIGN", "certain", "check_signs", "free", "reader", "tolerant"]

FOREIGN = ("refuse", "nearest")
"""What may be done about characters that an alphabet lacks."""

BLANK = " "


def tolerant(text: str, codec: Characters) -> Encoded:
    """A text in tokens; characters that the alphabet lacks are read as blanks, or what is nearest.

    The text itself keeps them.
    """
    known = frozenset(codec.pieces)
    pieces = []
    for start, end in clusters(text):
        sign = composed(text[start:end])
        foreign = sign not in known and stand_in(sign, known) is None
        pieces.append(BLANK * (end - start) if foreign else text[start:end])
    read = replace(codec, foreign="nearest").read("".join(pieces))
    return Encoded(text, read.ids, read.spans)


def check_signs(document: Document, codec: Characters, path: Path | None) -> None:
    """Refuses characters that the tokeniser cannot write.

    Raises:
        InvalidOptionError: Naming the file, the characters, and where each stands in the file.
    """
    text = document.text
    what = "the text" if path is None else str(path)
    check_known(text, codec.unknown(text), fix=codec.remedy, what=what, where=document.place)


def certain(ids: Int[Tensor, " length"], tokens: int) -> Float[Tensor, "length tokens"]:
    """Tokens that were read without doubt."""
    table = torch.full((len(ids), tokens), -torch.inf, dtype=torch.float64)
    return table.scatter_(1, ids[:, None], 0.0)


def free(length: int, tokens: int) -> Float[Tensor, "length tokens"]:
    """Places of which nothing is known."""
    return torch.zeros(length, tokens, dtype=torch.float64)


def reader(codec: Any, foreign: str) -> Characters:
    """The prior's tokeniser, told what to do about characters that its alphabet lacks.

    Raises:
        UnsupportedError: If the prior's tokens are not characters.
    """
    if not isinstance(codec, Characters):
        raise UnsupportedError(
            "this operator", "a prior whose tokens are characters", f"this one's are {codec.name}"
        )
    return replace(codec, foreign=foreign)
