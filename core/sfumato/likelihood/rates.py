"""From nats of items to bits per character of a text, and per dimension of a signal.

    bits per character = Σ nats/(ln 2 · Σ characters)
    bits per dimension = Σ nats/(ln 2 · Σ n) − log₂ w

Characters are those of the text that the tokens spell, not tokens; say so if bytes are counted.
Every item is scored by itself, without what stands before it. w is the width of a step of the data,
in the units of the density: a density of x/scale needs w/scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError, UnsupportedError
from sfumato.likelihood.trials import Bound

__all__ = ["Bits", "bits_per_character", "bits_per_dim"]


class Bits(NamedTuple):
    """Bits per character, or per dimension."""

    value: float
    error: float
    """Standard error of the estimate for these data (not of the data as a sample of others)."""


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


def bits_per_dim(bound: Bound, dims: int, *, width: float = 1.0) -> Bits:
    """Bits per dimension of all items together.

    Args:
        bound: In nats, of a density or of probabilities.
        dims: Numbers of one item.
        width: Step of the data in the units of the density, such as 1/256, or 2/256 for pictures
            in [−1, 1]; 1 if ``bound`` is of probabilities, or for bits of the density itself.

    Raises:
        InvalidOptionError: If ``dims`` or ``width`` are not above 0.
    """
    if dims < 1 or not width > 0:
        raise InvalidOptionError(
            "bits per dimension", f"dims={dims}, width={width}", "use numbers above 0"
        )
    bits = math.log(2) * dims * len(bound.nats)
    value = float(bound.nats.sum()) / bits - math.log2(width)
    return Bits(value, float(bound.error.square().sum().sqrt()) / bits)
