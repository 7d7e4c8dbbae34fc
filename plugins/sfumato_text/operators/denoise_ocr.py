"""Misread pages: text from a reader that says how sure it is (hOCR, ALTO, PAGE).

The likelihood of a character is a compromise between what a channel has counted and what the
reader says of itself (``sfumato_text.confidences``). Other readings that the reader lists get a
share of the errors. The result is written into the file that was read; all else in it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato_text.channels import Channel
from sfumato_text.confidences import soft_sites
from sfumato_text.files.documents import Document
from sfumato_text.operators.corrections import Row
from sfumato_text.operators.restore import Restore
from sfumato_text.operators.sites import certain

__all__ = ["DenoiseOCR"]


@dataclass(frozen=True)
class DenoiseOCR(Restore):
    """Corrects a page that a machine has read, with its own word on how sure it was.

    Args:
        channel: What the errors are like: "ocr", "typo", "uniform", or a file that a channel was
            saved in, such as one that was estimated on other pages of the same reader.
        foreign: Characters that the prior's alphabet lacks: "refuse" them; read the "nearest"
            signs that it has and leave them as they are; or take them for "noise".
        trust: How far the reader's confidences are believed: 0 not at all, 1 alone.
        other: Share of the errors that goes to the other readings that the reader lists.
    """

    summary: ClassVar[str] = "correct pages read by OCR (hOCR, ALTO, PAGE), with its confidences"

    channel: str = "ocr"
    foreign: str = "noise"
    trust: float = 0.5
    other: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("trust", "other"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidOptionError(
                    "text denoise-ocr", f"{name}={getattr(self, name)}", "use 0 to 1"
                )

    def sites(
        self, document: Document, row: Row, channel: Channel
    ) -> Float[Tensor, "length tokens"]:
        if len(row.observed) != row.end - row.start:  # letters with marks: no confidence of its own
            return super().sites(document, row, channel)
        part = slice_of(document, row)
        table = soft_sites(part, row.codec.pieces, channel, trust=self.trust, other=self.other)
        foreign = torch.tensor([sign not in row.known for sign in row.observed])
        if self.foreign != "noise":
            table[foreign] = certain(row.encoded.ids, len(row.codec.pieces))[foreign]
        # a place of which nothing could be true stays as it is
        lost = torch.isinf(table).all(dim=1)
        table[lost] = certain(row.encoded.ids, len(row.codec.pieces))[lost]
        return table


def slice_of(document: Document, row: Row) -> Document:
    """The part of a document that a row is, with its confidences and other readings."""
    if (row.start, row.end) == (0, len(document.text)):
        return document
    return document.part(row.start, row.end)
