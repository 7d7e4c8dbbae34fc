"""Counts of photons and other rare things: Poisson."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.likelihoods.base import Likelihood
from sfumato.noise import Streams

__all__ = ["Poisson"]

FAINTEST = 1e-3  # expected counts


@dataclass(frozen=True)
class Poisson(Likelihood):
    """y = counts / gain, counts ~ Poisson(gain · z), z ≥ 0.

    Args:
        gain: Counts per unit of z, > 0.
        background: Counts that arrive whatever z is, ≥ 0; keeps ln p finite at z = 0.
    """

    gain: float
    background: float = 0.0

    def __post_init__(self) -> None:
        if not (self.gain > 0 and self.background >= 0 and math.isfinite(self.gain)):
            raise InvalidOptionError(
                "Poisson noise", f"gain={self.gain}, background={self.background}",
                "use gain > 0 and background >= 0",
            )  # fmt: skip

    def rate(self, z: Tensor) -> Tensor:
        """Expected counts. The floor keeps the logarithm's slope finite; it is 10⁻³ counts."""
        return (self.gain * z + self.background).clamp(min=FAINTEST)

    def log_density(self, y: Tensor, z: Tensor) -> Tensor:
        rate = self.rate(z)
        counts = self.gain * y + self.background
        # no rate is below 0: under the floor ln p falls the steeper the more counts arrived;
        # so that what follows its gradient comes back
        below = ((self.gain * z + self.background) / FAINTEST - 1).clamp(max=0)
        return counts * rate.log() + (counts + 1) * below - rate

    def normal(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of the rate given k counts, Γ(k + 1): mean and variance are k + 1."""
        counts = (self.gain * y + self.background).clamp(min=0) + 1
        return (counts - self.background) / self.gain, counts / self.gain**2

    def sample(self, z: Tensor, streams: Streams) -> Tensor:
        rate = self.rate(z)
        rows = [
            torch.poisson(row.cpu(), generator=generator)
            for row, generator in zip(rate, streams.generators, strict=True)
        ]
        return (torch.stack(rows).to(z) - self.background) / self.gain

    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        rate = self.rate(z)
        return (self.gain * y + self.background - rate) / rate.clamp(min=1.0).sqrt()
