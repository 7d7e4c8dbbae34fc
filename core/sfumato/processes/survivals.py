"""How long a token lives: α(t), the chance that it has not been replaced by time t.

α(0) = 1 and α falls to 0 (or nearly) at t = 1. A token that is alive at s is alive at t > s with
chance α_t/α_s.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError

__all__ = ["CosineSurvival", "LinearSurvival", "Survival", "TableSurvival"]


class Survival(ABC):
    """α(t), its slope and its inverse, in float64."""

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """α(t) for times in [0, 1]."""

    @abstractmethod
    def slope(self, t: Tensor) -> Tensor:
        """dα/dt, not above 0."""

    @abstractmethod
    def time_of(self, alpha: Tensor) -> Tensor:
        """t with α(t) = ``alpha``, clamped to [0, 1]."""


@dataclass(frozen=True)
class LinearSurvival(Survival):
    """α = 1 − t."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - t

    def slope(self, t: Tensor) -> Tensor:
        return torch.full_like(t, -1.0)

    def time_of(self, alpha: Tensor) -> Tensor:
        return (1 - alpha).clamp(0, 1)


@dataclass(frozen=True)
class CosineSurvival(Survival):
    """α = 1 − cos(π/2 (1 − t)): few tokens change at a time near the data (Shi et al., 2024)."""

    def alpha(self, t: Tensor) -> Tensor:
        # near the noise written so that it keeps its digits, near the data so that it is 1 at t = 0
        noisy, clean = 2 * torch.sin(math.pi / 4 * (1 - t)) ** 2, 1 - torch.sin(math.pi / 2 * t)
        return torch.where(t > 0.5, noisy, clean)

    def slope(self, t: Tensor) -> Tensor:
        return -math.pi / 2 * torch.sin(math.pi / 2 * (1 - t))

    def time_of(self, alpha: Tensor) -> Tensor:
        dead = 1 - alpha.clamp(0, 1)
        noisy = 1 - 4 / math.pi * torch.asin(torch.sqrt((1 - dead) / 2))
        return torch.where(dead > 0.5, noisy, 2 / math.pi * torch.asin(dead)).clamp(0, 1)


@dataclass(frozen=True)
class TableSurvival(Survival):
    """α by linear interpolation between values at equal distances, for a user's own schedule.

    Args:
        values: α at t = 0, 1/(n−1), …, 1; from 1 down, never up, not below 0.

    Raises:
        InvalidOptionError: If the values are not such a table.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        values = tuple(float(v) for v in self.values)
        falls = all(a >= b for a, b in itertools.pairwise(values))
        if len(values) < 2 or values[0] != 1 or not falls or values[-1] < 0:
            raise InvalidOptionError(
                "survival", f"values={values[:4]}…", "start at 1, never rise, stay at 0 or above"
            )
        object.__setattr__(self, "values", values)

    def place(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values left and right of t, and how far t is between them."""
        table = torch.tensor(self.values, dtype=torch.float64, device=t.device)
        last = len(self.values) - 1
        left = (t * last).floor().long().clamp(0, last - 1)
        return table[left], table[left + 1], t * last - left

    def alpha(self, t: Tensor) -> Tensor:
        left, right, share = self.place(t)
        return left + share * (right - left)

    def slope(self, t: Tensor) -> Tensor:
        left, right, _ = self.place(t)
        return (right - left) * (len(self.values) - 1)

    def time_of(self, alpha: Tensor) -> Tensor:
        table = torch.tensor(self.values, dtype=torch.float64, device=alpha.device)
        last = len(self.values) - 1
        # the first interval that ends at or below alpha
        right = torch.searchsorted(-table, -alpha.clamp(0, 1), right=False).clamp(1, last)
        high, low = table[right - 1], table[right]
        share = torch.where(high > low, (high - alpha) / (high - low).clamp(min=1e-300), 0.0)
        return ((right - 1 + share) / last).clamp(0, 1)
