"""Moment matching (MMPS; Rozet et al., 2024): the Gaussian with the denoiser's own covariance.

Given x_t, x₀ is taken to be N(x̂, V) with V = (σ²/α) ∂x̂/∂x_t (Tweedie). A linear measurement with
Gaussian noise then gives

    μ = x̂ + V A* (A V A* + Σ)⁻¹ (y − A x̂),

exact when the prior is Gaussian. The inverse is taken by a few conjugate-gradient steps, each one
backward pass; a nonlinear A is linearised at x̂.

The same Gaussian has a covariance given y, and this guide can draw from it. A calibrated sampler
that uses the draw is exact for Gaussian priors at any number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sfumato.denoisers import Estimate, tweedie
from sfumato.errors import InvalidOptionError
from sfumato.inverse.conditioning import Conditioning, Map, isotropic, square_root
from sfumato.inverse.problems import Deferred, Guide, Problem
from sfumato.noise import Streams
from sfumato.processes import Level

__all__ = ["MMPS"]


@dataclass(frozen=True)
class MMPS(Guide):
    """Moment-matching posterior sampling.

    Args:
        iterations: Conjugate-gradient steps per level; each costs one backward pass.
        tolerance: Relative residual at which an item stops earlier.
        lanczos: Backward passes that a draw spends on V^½ of a random vector. A denoiser that can
            draw x₀ given x_t is asked for that instead.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    iterations: int = 4
    tolerance: float = 1e-4
    lanczos: int = 4

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.lanczos < 1:
            raise InvalidOptionError(
                "MMPS", f"iterations={self.iterations}, lanczos={self.lanczos}", "use 1 or more"
            )

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        estimate, covariance = tweedie(problem.denoiser, x_t, t, problem.condition)
        belief = Conditioning(
            problem, estimate.mean, covariance, isotropic(problem, estimate, t),
            self.iterations, self.tolerance,
        )  # fmt: skip

        def draw(streams: Streams) -> Tensor:
            return belief.draw(self.deviation(estimate, covariance, streams), streams)

        return Deferred(belief.mean, draw)

    def deviation(self, estimate: Estimate, covariance: Map, streams: Streams) -> Tensor:
        """A draw of x₀ − x̂ given x_t."""
        # independent elements with the right variances would not do: V's correlations are what
        # carries y to the elements that A does not see
        if estimate.sampler is not None:
            return estimate.sampler(streams) - estimate.mean
        return square_root(covariance, streams.normal(estimate.mean), self.lanczos)
