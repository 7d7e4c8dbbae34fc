"""DDPM's linear table between its steps (FastDPM; Kong & Ping, 2021, § 3.1).

With β_n = β₀ + n Δβ for n = 0 … N − 1, the product ᾱ_n = Π_{m ≤ n} (1 − β_m) is a ratio of Γ
functions and so has a value at every real n,

    ln ᾱ(n) = (n + 1) ln Δβ + ln Γ(c + 1) − ln Γ(c − n),    c = (1 − β₀)/Δβ.

It makes a noise level of any size a fractional step that the network can be told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.processes.schedules import Schedule

__all__ = ["FractionalBeta"]


@dataclass(frozen=True)
class FractionalBeta(Schedule):
    """``LinearBeta`` with the exact interpolation; step n is time (n + 1)/N.

    Args:
        steps: N, 2 or more.
        beta_min: β of the first step.
        beta_max: β of the last, above ``beta_min``.
    """

    steps: int = 1000
    beta_min: float = 1e-4
    beta_max: float = 0.02
    t_min: float = field(init=False)

    def __post_init__(self) -> None:
        if self.steps < 2 or not 0 < self.beta_min < self.beta_max < 1:
            raise InvalidOptionError(
                "FractionalBeta", f"{self.steps} steps from {self.beta_min} to {self.beta_max}",
                "use 2 steps or more and 0 < beta_min < beta_max < 1",
            )  # fmt: skip
        object.__setattr__(self, "t_min", 1 / self.steps)

    def log_alpha_bar(self, step: Tensor) -> Tensor:
        """ln ᾱ at a real-valued step in [0, N − 1], float64."""
        step = torch.as_tensor(step, dtype=torch.float64)
        slope = (self.beta_max - self.beta_min) / (self.steps - 1)
        c = (1 - self.beta_min) / slope
        gamma = torch.lgamma(torch.tensor(c + 1, dtype=torch.float64)) - torch.lgamma(c - step)
        return (step + 1) * math.log(slope) + gamma

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        total = self.log_alpha_bar((t * self.steps - 1).clamp(min=0))
        return (total / 2).exp(), (-torch.expm1(total)).sqrt()
