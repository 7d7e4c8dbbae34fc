"""Diagonal moment matching: the denoiser's own variance of every element, no backward pass.

A network with a variance head knows how uncertain each element of x̂ is. Taking x₀ given x_t as
N(x̂, V) with V = diag(v) gives, for a linear measurement with Gaussian noise,

    μ = x̂ + V A* (A V A* + Σ)⁻¹ (y − A x̂),

in closed form for masks, and by conjugate gradients on products with A alone otherwise. Nothing is
differentiated, so a step costs one network evaluation. What V leaves out are the correlations that
x₀ has given x_t: elements that A does not see learn of y only at the next level, through x_t. The
bias that this leaves is that of DDNM and DiffPIR, with the spread put right.

(The variance of SN-DDPM (Bao et al., 2022) in the place of the r²I of ΠGDM (Song et al., 2023).)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import UnsupportedError
from sfumato.inverse.conditioning import Conditioning, independent, simulated
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Deferred, Guide, Problem
from sfumato.inverse.standard import Selection
from sfumato.noise import Streams
from sfumato.processes import Level

__all__ = ["Diagonal"]


@dataclass(frozen=True)
class Diagonal(Guide):
    """Moment matching with the denoiser's variances.

    Args:
        iterations: Largest number of products with A and A* per solve, where no closed form is
            known.
        tolerance: Relative residual at which an item stops earlier.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian", "variance"})

    iterations: int = 50
    tolerance: float = 1e-5

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        estimate = problem.denoiser(x_t, t, problem.condition)
        if estimate.variance is None:
            raise UnsupportedError(
                "Diagonal moment matching", "a denoiser that reports its variance",
                "this one returns a mean only", ["MMPS", "PiGDM"],
            )  # fmt: skip
        x_hat = estimate.mean
        variance = estimate.variance.clamp(min=torch.finfo(estimate.variance.dtype).tiny)
        variance = variance.expand_as(x_hat)
        operator = problem.operator
        if isinstance(operator, Selection):
            return independent(problem, x_hat, variance, operator.gain(variance, problem.noise))
        if not isinstance(operator, Linear):
            typical = variance.flatten(1).mean(dim=1)
            belief = Conditioning(
                problem, x_hat, lambda v: variance * v, typical, self.iterations, self.tolerance
            )
            return Deferred(
                belief.mean,
                lambda streams: belief.draw(variance.sqrt() * streams.normal(x_hat), streams),
            )

        def update(centre: Tensor, y: Tensor) -> Tensor:
            weights = operator.solve(
                y - operator(centre), variance, problem.noise,
                tolerance=self.tolerance, iterations=self.iterations,
            )  # fmt: skip
            return centre + variance * operator.adjoint(weights)

        def draw(streams: Streams) -> Tensor:
            centre = x_hat + variance.sqrt() * streams.normal(x_hat)
            return update(centre, simulated(problem, streams))

        return Deferred(lambda: update(x_hat, problem.y), draw)
