"""Euler–Maruyama for the reverse SDE (Song et al., 2021, § 4.1).

In y = x/α and R = (σ/α)² every Gaussian process is Brownian motion in R, and its reverse SDE is

    dy = ½(1 + η²) (y − x̂)/R dR + η dw̄,

with R running down. η = 1 is the reverse of the process, η = 0 its probability flow. Taking these
coordinates leaves the linear drift of the process without error; only x̂ is frozen over a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import Level, combine, like
from sfumato.samplers.base import Denoise, Sampler

__all__ = ["EulerMaruyama"]


@dataclass(frozen=True)
class EulerMaruyama(Sampler):
    """Weak order 1, one evaluation per step; the last step returns x̂.

    Args:
        eta: Stochasticity, 0 or more.
    """

    eta: float = 1.0

    def __post_init__(self) -> None:
        if not (self.eta >= 0 and math.isfinite(self.eta)):
            raise InvalidOptionError("Euler-Maruyama", f"eta={self.eta}", "use 0 or more")

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        x_hat = denoise(x_t, t).mean
        if s.clean:
            return x_hat
        (alpha_t, sigma_t), (alpha_s, sigma_s) = t.scales, s.scales
        R_t, R_s = (sigma_t / alpha_t) ** 2, (sigma_s / alpha_s) ** 2
        part = (1 + self.eta**2) / 2 * (1 - R_s / R_t)
        x_s = combine(alpha_s / alpha_t * (1 - part), x_t, alpha_s * part, x_hat)
        return streams.perturb_(x_s, like(alpha_s * self.eta * (R_t - R_s) ** 0.5, x_t))
