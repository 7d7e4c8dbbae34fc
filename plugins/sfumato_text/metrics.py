"""How far a text is from the truth, and what was done to the text in between.

With the fewest substitutions, insertions and deletions E that turn an estimate into the reference:

    CER        E over characters / characters of the reference
    WER        E over words / words of the reference
    reduction  1 − CER(estimate) / CER(input)

Of the input's characters, some stand in an unchanged block of its alignment with the reference
(they are right), the others are wrong; and some stand in an unchanged block of its alignment with
the estimate (they were left), the others were changed.

    over-correction   share of the right ones that were changed
    fix rate          share of the wrong ones that were changed
    repair rate       share of the reference's characters that are wrong or missing in the input but
                      right in the estimate

Functions of texts take strings. ``cer``, ``wer``, ``characters`` and ``exact`` are a plugin's
metrics: code points ``[batch, length]`` or ``[length]``, negative ones standing for nothing, and
return one value per item.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato_text.alignments import align, distance
from sfumato_text.alphabets import clusters, composed
from sfumato_text.files.documents import text_of

__all__ = [
    "cer",
    "cer_reduction",
    "character_error_rate",
    "characters",
    "clean",
    "exact",
    "fix_rate",
    "gap_match",
    "over_correction",
    "reciprocal_rank",
    "repair_rate",
    "top_k",
    "wer",
    "word_error_rate",
]

Texts = Int[Tensor, "*batch length"]
Answer = TypeVar("Answer")


def clean(text: str) -> str:
    """Composed Unicode (NFC), every stretch of blanks as one: for metrics that should not care."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def graphemes(text: str) -> list[str]:
    """A text as people count its characters."""
    return [composed(text[start:end]) for start, end in clusters(text)]


def character_error_rate(estimate: str, reference: str, *, by_grapheme: bool = False) -> float:
    """Edits per character of the reference; infinite if that is empty and the estimate is not.

    Args:
        estimate: What is judged.
        reference: The truth.
        by_grapheme: Whether letters count together with their marks; otherwise code points do.
    """
    a: Sequence[str] = graphemes(estimate) if by_grapheme else estimate
    b: Sequence[str] = graphemes(reference) if by_grapheme else reference
    return rate(distance(a, b), len(b))


def word_error_rate(estimate: str, reference: str) -> float:
    """Edits per word of the reference; words are what blanks set apart."""
    words = reference.split()
    return rate(distance(estimate.split(), words), len(words))


def rate(edits: int, count: int) -> float:
    if count == 0:
        return 0.0 if edits == 0 else math.inf
    return edits / count


def cer_reduction(damaged: str, estimate: str, reference: str) -> float:
    """Share of the input's character errors that are gone; NaN if it had none."""
    before = distance(damaged, reference)
    return 1 - distance(estimate, reference) / before if before else math.nan


def kept(a: str, b: str) -> NDArray[np.bool_]:
    """Which characters of ``a`` are the same in ``b``."""
    found = np.zeros(len(a), dtype=bool)
    for block in align(a, b):
        found[block.start : block.end] = block.same
    return found


def over_correction(damaged: str, estimate: str, reference: str) -> float:
    """Share of the input's right characters that were changed; NaN if none was right."""
    right, left = kept(damaged, reference), kept(damaged, estimate)
    return share(right & ~left, right)


def fix_rate(damaged: str, estimate: str, reference: str) -> float:
    """Share of the input's wrong characters that were changed; NaN if none was wrong."""
    right, left = kept(damaged, reference), kept(damaged, estimate)
    return share(~right & ~left, ~right)


def repair_rate(damaged: str, estimate: str, reference: str) -> float:
    """Share of the reference's characters missing in the input that are right now; NaN if none."""
    had, has = kept(reference, damaged), kept(reference, estimate)
    return share(~had & has, ~had)


def share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else math.nan


def gap_match(fills: Sequence[str], truths: Sequence[str]) -> float:
    """Share of gaps that were filled exactly; NaN without gaps."""
    return mean([fill == truth for fill, truth in pairs(fills, truths)])


def top_k(ranked: Sequence[Sequence[str]], truths: Sequence[str], k: int = 20) -> float:
    """Share of gaps whose truth is among the first ``k`` candidates."""
    return mean([truth in list(row)[:k] for row, truth in pairs(ranked, truths)])


def reciprocal_rank(ranked: Sequence[Sequence[str]], truths: Sequence[str]) -> float:
    """Mean of 1/rank of the truth among the candidates, 0 where it is not among them."""
    return mean(
        [
            1 / (list(row).index(truth) + 1) if truth in row else 0.0
            for row, truth in pairs(ranked, truths)
        ]
    )


def pairs(found: Sequence[Answer], truths: Sequence[str]) -> list[tuple[Answer, str]]:
    if len(found) != len(truths):
        raise InvalidOptionError(
            "metrics", f"{len(found)} answers for {len(truths)} truths", "give as many"
        )
    return list(zip(found, truths, strict=True))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def cer(estimate: Texts, reference: Texts) -> Float[Tensor, "*batch"]:
    """Character error rate of code points."""
    return each(estimate, reference, character_error_rate)


def wer(estimate: Texts, reference: Texts) -> Float[Tensor, "*batch"]:
    """Word error rate of code points."""
    return each(estimate, reference, word_error_rate)


def characters(estimate: Texts, reference: Texts) -> Float[Tensor, "*batch"]:
    """Share of the reference's characters that are right."""
    return each(estimate, reference, lambda a, b: float(kept(b, a).mean()) if b else math.nan)


def exact(estimate: Texts, reference: Texts) -> Float[Tensor, "*batch"]:
    """1 where the texts are the same, 0 elsewhere."""
    return each(estimate, reference, lambda a, b: float(a == b))


def each(
    estimate: Texts, reference: Texts, metric: Callable[[str, str], float]
) -> Float[Tensor, "*batch"]:
    """A metric of strings, item by item."""
    if estimate.shape[:-1] != reference.shape[:-1] or estimate.ndim not in (1, 2):
        raise ShapeError(
            "the estimate", estimate.shape, f"{reference.ndim} axes and as many texts as references"
        )
    if torch.is_floating_point(estimate) or torch.is_floating_point(reference):
        raise ShapeError("the estimate", (estimate.dtype,), "code points (integers)")
    if estimate.ndim == 1:
        return torch.tensor(metric(text_of(estimate), text_of(reference)))
    rows = [metric(text_of(a), text_of(b)) for a, b in zip(estimate, reference, strict=True)]
    return torch.tensor(rows)
