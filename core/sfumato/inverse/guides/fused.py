"""Fusing the state with a measurement of single elements: exact, where levels may be uneven.

The state x_t = α x₀ + σ ε and a measurement y = x₀ + n of an element, n ~ N(0, σ_y²), are two
independent Gaussian looks at the same x₀. What they say together is one look,

    z = r² (α x_t/σ² + y/σ_y²),        1/r² = α²/σ² + 1/σ_y²,        z | x₀ ~ N(x₀, r²),

and where nothing is measured the look is x_t/α with r = σ/α. So z is a state of the same process in
which every element has its own level, and

    E[x₀ | x_t, y] = D(z, r),

with nothing approximated but the network D: no linearisation, no covariance, no backward pass. The
denoiser must take a level for every element, as networks with a noise map do. An element measured
without noise is at the lowest level, and comes back as measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import InvalidOptionError
from sfumato.inverse.conditioning import draw_inflation, unexplained, widened
from sfumato.inverse.elements import elements
from sfumato.inverse.problems import Guide, Problem
from sfumato.processes import Level, like

__all__ = ["Fused"]


@dataclass(frozen=True)
class Fused(Guide):
    """The exact posterior denoiser of masks and of white noise, known or uneven.

    Args:
        inflation: Factor on the variance of draws of x₀, up to what an element has if the prior
            says nothing (``conditioning.widened``); 1 where nothing is drawn, ``None`` for
            ``draw_inflation``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mask", "places", "gaussian", "uneven"})

    inflation: float | None = 1.0

    def __post_init__(self) -> None:
        if self.inflation is not None and not self.inflation >= 0:
            raise InvalidOptionError("Fused", f"inflation={self.inflation}", "use 0 or more")

    @property
    def exact(self) -> bool:
        return self.inflation == 1

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        measured, values, noise = elements(problem)
        free = like(t.ratio, x_t).square()
        share = torch.where(measured, free / (free + noise), 0.0)
        z = torch.lerp(x_t / like(t.alpha, x_t), values, share)
        looks = torch.where(measured, share * noise, free)
        level = uneven(problem, looks)
        state = like(level.alpha, z) * z
        estimate = problem.denoiser(state, level, problem.condition)
        sure, spread = measured & (noise == 0), self.spread(problem, estimate, looks)
        draw = estimate.sampler
        return Estimate(
            torch.where(sure, values, estimate.mean),
            variance=None if spread is None else torch.where(sure, 0.0, spread),
            sampler=None if draw is None else lambda s: torch.where(sure, values, draw(s)),
        )

    def spread(self, problem: Problem, estimate: Estimate, looks: Tensor) -> Tensor | None:
        """Variance of the elements of a draw; ``looks`` is r² of z."""
        if estimate.variance is None or self.inflation == 1:
            return estimate.variance
        factor = draw_inflation(problem.denoiser) if self.inflation is None else self.inflation
        return widened(estimate.variance, unexplained(looks, problem.denoiser), factor)


def uneven(problem: Problem, variance: Tensor) -> Level:
    """The level at which every element of x₀ is seen with its own ``variance``, in data units."""
    process = problem.denoiser.process
    if variance.ndim > 2:  # all channels of a place are alike
        variance = variance[:, :1]
    # a logarithm for each element is not cheap
    values, places = torch.unique(variance, return_inverse=True)
    levels = process.level(process.schedule.time_of(values.double().cpu().log() / 2))
    t, alpha, sigma = (c[places.cpu()] for c in (levels.t, levels.alpha, levels.sigma))
    return Level(t.flatten(1).amax(dim=1), alpha, sigma, process)
