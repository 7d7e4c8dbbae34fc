"""Heun's method for the probability-flow ODE (Karras et al., 2022, algorithm 2).

In y = x/α and r = σ/α the ODE is dy/dr = (y − x̂)/r =: d. An Euler step to r_s gives a state there,
whose slope d' is averaged with the first,

    y_s = y + (r_s − r_t)(d + d')/2.

At r_s = 0 there is no second slope, and the step is Euler's: x̂.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sfumato.noise import Streams
from sfumato.processes import Level, like
from sfumato.samplers.base import Denoise, Sampler
from sfumato.samplers.churn import Churn

__all__ = ["Heun"]


@dataclass(frozen=True)
class Heun(Sampler):
    """Second order, two evaluations per step and one for the last.

    Args:
        churn: Noise to put back before each step; none by default.
    """

    churn: Churn = field(default_factory=Churn)

    @property
    def evaluations(self) -> int:
        return 2

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
        x_hat = denoise(x_t, t).mean
        if s.clean:
            return x_hat
        h = s.ratio - t.ratio
        y = x_t / like(t.alpha, x_t)
        d = (y - x_hat) / like(t.ratio, x_t)
        y_s = y + like(h, x_t) * d
        alpha = like(s.alpha, x_t)
        d_s = (y_s - denoise(alpha * y_s, s).mean) / like(s.ratio, x_t)
        return alpha * (y + like(h / 2, x_t) * (d + d_s))
