"""Euler's method for the probability-flow ODE (Song et al., 2021; Karras et al., 2022).

With y = x/α and r = σ/α every Gaussian process has the same ODE,

    dy/dr = (y − x̂)/r,

whose Euler step from r_t to r_s is x_s = α_s (y + (r_s − r_t)(y − x̂)/r_t). Without churn this is
DDIM; for flow matching it is the straight step along the velocity.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sfumato.noise import Streams
from sfumato.processes import Level
from sfumato.samplers.base import Denoise, Sampler, kernel
from sfumato.samplers.churn import Churn

__all__ = ["Euler"]


@dataclass(frozen=True)
class Euler(Sampler):
    """First order, one evaluation per step.

    Args:
        churn: Noise to put back before each step; none by default.
    """

    churn: Churn = field(default_factory=Churn)

    @property
    def stochastic(self) -> bool:
        return self.churn.amount > 0

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        x_t, t = self.churn(x_t, t, streams)
        return kernel(denoise(x_t, t).mean, x_t, t, s, streams, eta=0.0)
