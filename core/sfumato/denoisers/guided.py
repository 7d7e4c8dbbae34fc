"""Classifier-free guidance (Ho & Salimans, 2022).

A denoiser that was trained with and without a condition c knows both E[x₀ | x_t] and
E[x₀ | x_t, c]. Going beyond the second, away from the first,

    μ = x̂ + w (x̂_c − x̂),

samples from p(x₀ | c)-like densities that are sharpened for w > 1: better recognised, less varied.
It is no posterior. At very high and very low noise it harms more than it helps, so it can be kept
to an interval of levels (Kynkäänniemi et al., 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Denoiser, Estimate
from sfumato.errors import InvalidOptionError
from sfumato.processes import Gaussian, Level, like

__all__ = ["ClassifierFree"]


@dataclass(frozen=True, eq=False)
class ClassifierFree(Denoiser):
    """A conditional denoiser with guidance.

    Args:
        denoiser: One that was trained with its condition dropped at times.
        scale: w; 0 ignores the condition, 1 is the denoiser as it is, more exaggerates.
        interval: Noise-to-signal ratios σ/α between which guidance acts; outside w is 1.
        drop: Entries of the condition that are left out in the unconditional call.

    Raises:
        InvalidOptionError: If ``scale`` is not finite, or the interval is empty.
    """

    denoiser: Denoiser
    scale: float = 1.0
    interval: tuple[float, float] = (0.0, math.inf)
    drop: tuple[str, ...] = ("label",)

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale):
            raise InvalidOptionError("guidance", f"scale={self.scale}", "use a finite number")
        low, high = self.interval
        if not 0 <= low < high:
            raise InvalidOptionError("guidance", f"interval={self.interval}", "use 0 <= low < high")

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.denoiser.process

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        given = self.denoiser(x_t, t, condition)
        named = {name for name in self.drop if (condition or {}).get(name) is not None}
        low, high = self.interval
        acts = (t.ratio >= low) & (t.ratio <= high)
        if not named or self.scale == 1 or not bool(acts.any()):
            return given
        rest = {name: value for name, value in (condition or {}).items() if name not in named}
        free = self.denoiser(x_t, t, rest or None).mean
        weight = torch.where(acts, self.scale, 1.0)
        mean = free + like(weight, x_t) * (given.mean - free)
        return replace(given, mean=mean, covariance=None, sampler=None)
