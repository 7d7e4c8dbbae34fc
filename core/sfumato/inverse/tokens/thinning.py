"""Of many entries some are kept and stand for the others, so that no sum changes in the mean.

Entries worth more than c stay as they are. Of the others each survives with chance worth/c, and is
worth c then. One number u chooses along the row of entries: systematic sampling.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

__all__ = ["resampled", "sampled", "survivors"]

Rule = Callable[[ndarray, int, float], ndarray]


def resampled(worth: Float[ndarray, " n"], size: int, u: float) -> Float[ndarray, " n"]:
    """Factors, 0 for all but ``size`` entries, that change no sum over the entries in the mean.

    Entries worth more than c stay as they are. Of the others each survives with chance worth/c, and
    is worth c then; c makes their number right. Of all ways to keep so many entries without bias
    this one disturbs them least (Fearnhead & Clifford, 2003, section 3). One number u chooses along
    the row of entries: systematic sampling.

    Args:
        worth: Not negative; more than ``size`` entries.
        size: How many to keep.
        u: Uniform in [0, 1).
    """
    ordered = np.sort(worth)
    rest = np.cumsum(ordered)[::-1][:size]
    room = np.arange(size, 0, -1)
    heavy = int(np.argmax(ordered[::-1][:size] * room <= rest))
    c = max(rest[heavy] / room[heavy], np.finfo(float).tiny)
    return chosen(worth / c, u)


def sampled(worth: Float[ndarray, " n"], size: int, u: float) -> Float[ndarray, " n"]:
    """The same for ``size`` entries at most in the mean, without sorting them: c = Σ worth/size."""
    c = max(worth.sum() / size, np.finfo(float).tiny)
    return chosen(worth / c, u)


def chosen(share: Float[ndarray, " n"], u: float) -> Float[ndarray, " n"]:
    """Factors of entries that survive with a chance of ``share``, or for certain from 1 on."""
    share = np.minimum(share, 1)
    ends = np.floor(np.cumsum(share) + u)
    kept = np.diff(ends, prepend=0) > 0
    kept |= share == 1  # whatever the sum's rounding
    factor = np.zeros(len(share))
    factor[kept] = 1 / share[kept]
    return factor


def survivors(
    worth: Float[ndarray, " n"],
    item: Int[ndarray, " n"] | None,
    size: int,
    u: float,
    rule: Rule = resampled,
) -> Float[ndarray, " n"]:
    """By what each entry is multiplied so that no more than ``size`` of an item are left.

    Args:
        worth: Of each entry.
        item: Whose it is; ``None`` if all are one item's.
        size: How many to keep.
        u: Uniform in [0, 1).
        rule: ``resampled`` or ``sampled``.
    """
    if item is None:
        return rule(worth, size, u) if len(worth) > size else np.ones(len(worth))
    factor = np.ones(len(worth))
    for crowded in np.flatnonzero(np.bincount(item) > size):
        own = np.flatnonzero(item == crowded)
        factor[own] = rule(worth[own], size, u)
    return factor
