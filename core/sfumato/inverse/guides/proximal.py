"""Proximal guidance with calibrated draws: a wide gain for the mean, the network's own spread.

A linear measurement with noise Σ moves the denoised signal by

    μ = x̂ + r² A* (r² A A* + Σ)⁻¹ (y − A x̂),        r² = ρ²v/(ρ² + v),   ρ = σ/α,

with v the variance of the data. r² is the variance of x₀ given x_t along directions on which the
prior says nothing, and that is where the measurement should be believed; what it puts into
directions that the prior forbids, the next evaluation of the network takes out again. (The learned
variance of each element, an average over both kinds of directions, is too small a gain.) The
*spread* of x₀ given x_t and y, on the other hand, is the learned one, conditioned on y with the
same gain K = r² A* (r² A A* + Σ)⁻¹:

    x₀ = x' + K (y + n − A x'),        x' ~ N(x̂, diag var),   n ~ N(0, Σ).

Both the wide gain and an inflated variance count on a next evaluation. The draws of the lowest
level have none: with the wide gain they would follow the noise of y. So there, if y has noise, the
mean of the learned variance is the gain, and the learned variance is not inflated.

For masks everything happens element by element, and x₀ keeps independent elements.

The mean is DiffPIR's data step (Zhu et al., 2023) with ΠGDM's variance (Song et al., 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import InvalidOptionError
from sfumato.inverse.capabilities import data_spread
from sfumato.inverse.conditioning import (
    draw_inflation,
    independent,
    isotropic,
    simulated,
    widened,
)
from sfumato.inverse.problems import Deferred, Guide, Problem
from sfumato.inverse.standard import Selection
from sfumato.noise import Streams
from sfumato.processes import Level

__all__ = ["Proximal"]


@dataclass(frozen=True)
class Proximal(Guide):
    """Proximal guidance with calibrated draws.

    Args:
        inflation: Factor on the learned variance, up to r² (``conditioning.widened``); if ``None``,
            ``draw_inflation``, less a quarter of it times the share of elements that y shows,
            which y puts right itself.
        iterations: Largest number of products with A and A* where no closed form is known.
        tolerance: Relative residual at which an item stops earlier.
        settled: Noise-to-signal ratio σ/α at and below which gain and spread are the learned ones,
            where y has noise.
            Of 27 Gaussian problems with the exact denoiser this brought the χ² of samples nearer to
            that of exact draws on 24, and the spread nearer to the posterior's on all. 0 for never.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"linear", "gaussian", "variance"})

    inflation: float | None = None
    iterations: int = 30
    tolerance: float = 1e-4
    settled: float = 0.0

    def __post_init__(self) -> None:
        if self.inflation is not None and not self.inflation >= 0:
            raise InvalidOptionError("Proximal", f"inflation={self.inflation}", "use 0 or more")
        if not self.settled >= 0:
            raise InvalidOptionError("Proximal", f"settled={self.settled}", "use 0 or more")

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        estimate = problem.denoiser(x_t, t, problem.condition)
        operator, x_hat, spread = problem.linear, estimate.mean, estimate.variance
        assert spread is not None
        inflation = self.inflation
        if inflation is None:
            shown = min(1.0, operator.observed(problem.y) / x_hat[0].numel())
            inflation = max(1.0, draw_inflation(problem.denoiser) * (1 - shown / 4))
        widest = r2 = isotropic(problem, estimate, t, data_spread(problem.denoiser))
        noisy = bool((problem.noise > 0).any())
        if noisy and t.ratio.max().item() <= self.settled:
            inflation, r2 = min(inflation, 1.0), torch.minimum(isotropic(problem, estimate, t), r2)
        if isinstance(operator, Selection):
            gain = operator.gain(r2, problem.noise)
            return independent(problem, x_hat, widened(spread, widest, inflation), gain)

        def update(centre: Tensor, y: Tensor) -> Tensor:
            residual = operator.restrict(y - operator(centre))
            weights = operator.solve(
                residual, r2, problem.noise, tolerance=self.tolerance, iterations=self.iterations
            )
            return centre + r2 * operator.adjoint(weights)

        def draw(streams: Streams) -> Tensor:
            deviation = widened(spread, widest, inflation).clamp(min=0).sqrt_()
            return update(streams.perturb_(x_hat.clone(), deviation), simulated(problem, streams))

        return Deferred(lambda: update(x_hat, problem.y), draw)
