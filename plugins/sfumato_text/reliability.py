"""Whether probabilities mean what they say: of the characters given 0.9, 90 % should be right.

    ECE    Σ_b n_b/n |share right in b − mean probability in b|      over bins b
    Brier  mean (p − right)²

(Naeini et al., 2015; Brier, 1950). Bins are of equal width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidOptionError

__all__ = ["Bin", "brier", "calibration_error", "reliability"]


class Bin(NamedTuple):
    """Characters whose probability lies in a range."""

    low: float
    high: float
    size: int
    probability: float
    """Mean of the stated probabilities; NaN if there are none."""
    right: float
    """Share that is right; NaN if there are none."""


def checked(
    probabilities: Sequence[float], right: Sequence[bool]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    p = np.asarray(probabilities, dtype=np.float64)
    hit = np.asarray(right, dtype=np.float64)
    if p.shape != hit.shape or p.ndim != 1 or not ((p >= -1e-9) & (p <= 1 + 1e-9)).all():
        raise InvalidOptionError(
            "calibration", f"{p.shape} probabilities for {hit.shape} outcomes",
            "give one probability from 0 to 1 for each outcome",
        )  # fmt: skip
    return p.clip(0, 1), hit


def reliability(
    probabilities: Sequence[float], right: Sequence[bool], *, bins: int = 10
) -> list[Bin]:
    """Stated probabilities beside what came true, bin by bin.

    Args:
        probabilities: One per character.
        right: Whether it was right.
        bins: How many.
    """
    p, hit = checked(probabilities, right)
    place = np.minimum((p * bins).astype(int), bins - 1)
    found = []
    for b in range(bins):
        inside = place == b
        count = int(inside.sum())
        told = (float(p[inside].mean()), float(hit[inside].mean())) if count else (math.nan,) * 2
        found.append(Bin(b / bins, (b + 1) / bins, count, *told))
    return found


def calibration_error(
    probabilities: Sequence[float], right: Sequence[bool], *, bins: int = 10
) -> float:
    """ECE; NaN without characters."""
    rows = [row for row in reliability(probabilities, right, bins=bins) if row.size]
    total = sum(row.size for row in rows)
    if not total:
        return math.nan
    return sum(row.size * abs(row.right - row.probability) for row in rows) / total


def brier(probabilities: Sequence[float], right: Sequence[bool]) -> float:
    """Brier's score; NaN without characters."""
    p, hit = checked(probabilities, right)
    return float(((p - hit) ** 2).mean()) if len(p) else math.nan
