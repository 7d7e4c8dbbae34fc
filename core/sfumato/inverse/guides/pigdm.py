"""ΠGDM (Song et al., 2023): x₀ given x_t as N(x̂, r²I), differentiated through the network.

    ∇ ln p(y | x_t) ≈ Jᵀ A* (r² A A* + Σ)⁻¹ (y − A x̂),       J = ∂x̂/∂x_t,

and μ = x̂ + (σ²/α) ∇ ln p(y | x_t). The paper's r² = ρ²/(1 + ρ²), ρ = σ/α, holds for data of unit
variance; for data of variance v it is r² = ρ²v/(ρ² + v).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sfumato.denoisers import Estimate, tweedie
from sfumato.errors import InvalidOptionError
from sfumato.inverse.conditioning import isotropic
from sfumato.inverse.problems import Guide, Problem
from sfumato.processes import Level

__all__ = ["PiGDM"]


@dataclass(frozen=True)
class PiGDM(Guide):
    """Pseudo-inverse guidance, with noise and with the variance of the data.

    Args:
        spread: Standard deviation of the data in model units, > 0; 1 is the paper's. If not given,
            r² is the mean of the denoiser's variance where it reports one, and follows from the
            prior's spread otherwise.
        iterations: Largest number of products with A and A* where no closed form is known.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"linear", "gaussian"})

    spread: float | None = None
    iterations: int = 50

    def __post_init__(self) -> None:
        if self.spread is not None and not self.spread > 0:
            raise InvalidOptionError("PiGDM", f"spread={self.spread}", "use a number above 0")

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        estimate, covariance = tweedie(problem.denoiser, x_t, t, problem.condition)
        operator, x_hat = problem.linear, estimate.mean
        r2 = isotropic(problem, estimate, t, self.spread)
        residual = problem.residual(operator(x_hat))
        weights = operator.solve(residual, r2, problem.noise, iterations=self.iterations)
        return estimate.with_mean(x_hat + covariance(operator.adjoint(weights)))
