"""Rounding to a grid: every recorded number is an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.likelihoods.base import Likelihood
from sfumato.noise import Streams

__all__ = ["Quantised", "truncated"]

NARROW = 1e-4  # of an interval's variance, in those of what is truncated to it


@dataclass(frozen=True)
class Quantised(Likelihood):
    """y = step · round((z + σ n)/step): rounding to a grid, after noise.

    ln p(y | z) = ln[Φ((y + step/2 − z)/σ) − Φ((y − step/2 − z)/σ)].

    Args:
        step: Distance of neighbouring values, > 0; a number or a tensor that broadcasts to y.
        sigma: Noise before rounding, > 0. A small share of ``step`` says "anywhere inside".
        clip: Values at which y saturates; beyond them the interval is unbounded.
    """

    step: float | Tensor
    sigma: float | Tensor
    clip: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("step", "sigma"):
            value = torch.as_tensor(getattr(self, name))
            if not bool((value > 0).all() and torch.isfinite(value).all()):
                raise InvalidOptionError(
                    "quantisation", f"{name}={getattr(self, name)}", "use numbers above 0"
                )

    def bounds(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest z (before noise) that is recorded as y."""
        half = self.step / 2
        half = half.to(y) if isinstance(half, Tensor) else half
        low, high = y - half, y + half
        if self.clip is not None:
            low = torch.where(y <= self.clip[0], -math.inf, low)
            high = torch.where(y >= self.clip[1], math.inf, high)
        return low, high

    def log_density(self, y: Tensor, z: Tensor) -> Tensor:
        low, high = self.bounds(y)
        sigma = self.sigma.to(z) if isinstance(self.sigma, Tensor) else self.sigma
        return log_between((low - z) / sigma, (high - z) / sigma)

    def sample(self, z: Tensor, streams: Streams) -> Tensor:
        step = self.step.to(z) if isinstance(self.step, Tensor) else self.step
        sigma = self.sigma.to(z) if isinstance(self.sigma, Tensor) else self.sigma
        y = step * torch.round((z + sigma * streams.normal(z)) / step)
        return y if self.clip is None else y.clamp(*self.clip)

    def normal(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of a uniform distribution over the interval, and of the noise before rounding."""
        low, high = self.bounds(y)
        sigma = self.sigma.to(y) if isinstance(self.sigma, Tensor) else self.sigma
        variance = (high - low) ** 2 / 12 + sigma**2
        return torch.where(torch.isfinite(variance), (low + high) / 2, y), variance

    @property
    def knows_moments(self) -> bool:
        return True

    def moments(self, y: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Of z + σ n, which lies in the interval, and from there of z."""
        sigma = self.sigma.to(mean) if isinstance(self.sigma, Tensor) else self.sigma
        total = variance + sigma**2
        inside, left = truncated(mean, total, *self.bounds(y))
        gain = variance / total
        return mean + gain * (inside - mean), gain * (sigma**2 + gain * left)

    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        """Distance from the interval, in σ; 0 inside."""
        low, high = self.bounds(y)
        sigma = self.sigma.to(z) if isinstance(self.sigma, Tensor) else self.sigma
        return ((low - z).clamp(min=0) - (z - high).clamp(min=0)) / sigma


def truncated(mean: Tensor, variance: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of N(mean, variance) between ``low`` and ``high``, which may be infinite.

    With a and b the bounds in standard deviations, and a density φ that is 0 at infinity,

        mean + σ d,   σ² (1 + (a φ(a) − b φ(b))/Z − d²),   d = (φ(a) − φ(b))/Z,   Z = Φ(b) − Φ(a).
    """
    sd = variance.sqrt()
    a, b = (low - mean) / sd, (high - mean) / sd
    log_z = log_between(a, b)

    def density(x: Tensor) -> tuple[Tensor, Tensor]:
        """φ(x)/Z and x φ(x)/Z."""
        finite = torch.isfinite(x)
        x = torch.where(finite, x, 0.0)
        value = torch.where(finite, (-(x**2) / 2 - log_z).exp() / math.sqrt(2 * math.pi), 0.0)
        return value, x * value

    (at_a, slope_a), (at_b, slope_b) = density(a), density(b)
    d = at_a - at_b
    # far from the interval, and for one that is narrow beside σ, these are differences of large
    # numbers; what they may be is known
    found = torch.clamp(mean + sd * d, low, high)
    share = 1 + slope_a - slope_b - d**2
    flat = ((high - low) / sd) ** 2 / 12
    share = torch.where(flat < NARROW, flat, share)
    return found, variance * share.clamp(min=0, max=1)


def log_between(a: Tensor, b: Tensor) -> Tensor:
    """ln [Φ(b) − Φ(a)] for a < b."""
    # work on the side where both tails are small; ln Φ(b) − ln Φ(a) stays exact there
    flip = a + b > 0
    a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
    log_b, log_a = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
    difference = (log_a - log_b).clamp(max=-1e-7)
    value: Tensor = log_b + torch.log(-torch.expm1(difference))
    return value
