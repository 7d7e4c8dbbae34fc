"""From nats of items to bits per character of a text.

    bits per character = Σ nats/(ln 2 · Σ characters)

Characters are those of the text that the tokens spell, not tokens; say so if bytes are counted.
Every item is scored by itself, without what stands before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.errors import ShapeError, UnsupportedError
from sfumato.likelihood.trials import Bound

__all__ = ["Bits", "bits_per_character"]


class Bits(NamedTuple):
    """Bits per character."""

    value: float
    error: float
    """Standard error of the estimate for this text (not of the text as a sample of others)."""


def bits_per_character(bound: Bound | Tensor, characters: int | Sequence[int] | Tensor) -> Bits:
    """Bits per character of all items together.

    Args:
        bound: From one of the estimators of this package.
        characters: Of each item, or one number for all.

    Raises:
        UnsupportedError: If ``bound`` is no bound, such as a pseudo-likelihood.
        ShapeError: If there are not as many numbers as items.
    """
    if not isinstance(bound, Bound):
        raise UnsupportedError(
            "bits_per_character", "a bound on −ln p", f"{type(bound).__name__} is none",
            instead=["k_uniform", "chain_rule", "importance_bound"],
        )  # fmt: skip
    many = torch.as_tensor(characters, dtype=torch.float64)
    if many.ndim and many.shape != bound.nats.shape:
        raise ShapeError("characters", many.shape, f"{len(bound.nats)}, one number per item")
    bits = math.log(2) * float(many.expand(bound.nats.shape).sum())
    return Bits(float(bound.nats.sum()) / bits, float(bound.error.square().sum().sqrt()) / bits)
