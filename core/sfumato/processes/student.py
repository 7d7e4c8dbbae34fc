"""Noise with a Student-t law: Poisson flow models (PFGM++; Xu et al., 2023; Xu et al., 2022).

Data of n dimensions with D more, in which a charge's field points outwards, give the perturbation
p(x_r | x₀) ∝ (‖x_r − x₀‖² + r²)^{−(n+D)/2}. With r = σ √D that is a multivariate t distribution
with D degrees of freedom and scale σ,

    x_σ = x₀ + σ ε,    ε = z √(D/χ²_D),    z ~ N(0, I),

whose flow is the same as ever, dx/dσ = (x − E[x₀ | x_σ])/σ. So a model is trained and its ODE is
sampled by what is there, with another ε. D → ∞ is Gaussian noise and D = 1 is PFGM. Heavier tails
forgive errors of x̂ more; they also ask for more of a network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes.gaussian import Gaussian, Level

__all__ = ["Student"]

LONGEST = 999.0
"""Largest ‖ε‖²/D: the odds of a Beta draw of 1 − 10⁻³, where the published code stops."""


@dataclass(frozen=True)
class Student(Gaussian):
    """x_t = α(t) x₀ + σ(t) ε with ε of a t distribution, one χ² per item.

    For samplers without noise of their own: the law of two levels together is not known, and ε does
    not come in independent steps. The others are refused.

    Args:
        schedule: α and σ.
        degrees: D, a whole number from 1; 2048 in Xu et al.

    Raises:
        InvalidOptionError: If ``degrees`` is no such number.
    """

    degrees: int = 2048
    normal: ClassVar[bool] = False
    stepwise: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.degrees < 1:
            raise InvalidOptionError("PFGM++", f"degrees={self.degrees}", "use 1 or more")

    def noise(self, like_x: Tensor, streams: Streams) -> Tensor:
        z = streams.normal(like_x)
        blank = torch.empty(len(z), self.degrees, dtype=torch.float64, device=z.device)
        chi = streams.normal(blank).square().sum(dim=1)
        chi = torch.maximum(chi, z.double().flatten(1).square().sum(dim=1) / LONGEST)
        scale = (self.degrees / chi).sqrt().to(z.dtype)
        return z * scale.reshape(-1, *(1,) * (z.ndim - 1))

    def log_noise(self, square: Tensor, sigma: Tensor, n: int) -> Tensor:
        D = self.degrees
        constant = math.lgamma((n + D) / 2) - math.lgamma(D / 2) - n / 2 * math.log(D * math.pi)
        power = (sigma**2).clamp(min=1e-30)
        return constant - n / 2 * power.log() - (n + D) / 2 * torch.log1p(square / (D * power))

    def renoise(
        self,
        x_s: Float[Tensor, "batch *x"],
        s: Level,
        t: Level,
        noise: Float[Tensor, "batch *x"],
    ) -> Float[Tensor, "batch *x"]:
        raise UnsupportedError(
            "going back to more noise", "noise that comes in independent steps",
            "that of PFGM++ does not", ["Gaussian(schedule)"],
        )  # fmt: skip
