"""Bits per character of n-grams and of general compressors, on text that they have not seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy import ndarray

from sfumato.denoisers.sequential import walk
from sfumato_text.compression import bits_per_character
from sfumato_text.contexts import Order
from sfumato_text.ngrams import NGrams

__all__ = ["likelihoods"]

Row = dict[str, Any]


class WittenBell:
    """The smoothing of Witten & Bell (1991), in the form that ``NGrams`` takes discounts in.

    p(v | c) = (n(cv) + k p(v | shorter)) / (n(c) + k), with k different letters after c.
    """

    def __init__(self, order: int) -> None:
        self.order = order
        self.single = np.full(order + 1, 0.5)

    def of(self, order: Order, n: int) -> tuple[ndarray, ndarray]:
        ways = np.diff(order.start)
        share = order.count / (order.sizes + ways)[order.owner]
        return order.diversity - share * order.total[order.owner], ways / (order.sizes + ways)


def bits(model: NGrams, blocks: Sequence[str], before: Sequence[str] = ()) -> float:
    """Bits per character by the chain rule; ``before`` each block may be given."""
    given = before or [""] * len(blocks)
    logs = walk(model, [model.encode(a + b) for a, b in zip(given, blocks, strict=True)])
    total = sum(row[len(a) :].sum() for a, row in zip(given, logs, strict=True))
    return float(-total / sum(map(len, blocks)) / math.log(2))


def likelihoods(model: NGrams, blocks: Sequence[str], training: str) -> Iterator[Row]:
    """Bits per character of the model and of others."""
    tails = ["\n", *(block[-model.order :] for block in blocks[:-1])]
    yield {"method": "n-grams, order 14", "bits": bits(model, blocks)}
    yield {"method": "n-grams, order 14, block before given", "bits": bits(model, blocks, tails)}
    simple = NGrams(model.text, model.alphabet, WittenBell(5))  # type: ignore[arg-type]
    yield {"method": "Witten–Bell 6-grams", "bits": bits(simple, blocks)}
    text = "".join(blocks)
    for name in ("zlib", "bz2", "lzma"):
        yield {"method": f"{name}, alone", "bits": bits_per_character(text, name)}
    yield {
        "method": "lzma, training given",
        "bits": bits_per_character(text, "lzma", given=training),
    }
    for given, words in (("", "alone"), (training, "training given")):
        value = bits_per_character(text, "ppmd", given=given, order=8)
        yield {"method": f"PPMd order 8, {words}", "bits": value}
