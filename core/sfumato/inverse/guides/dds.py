"""DDS (Chung, Lee & Ye, 2024): a few conjugate-gradient steps on the measurement, from x̂.

    (I + γ A*A) x = x̂ + γ A* y         noisy,         A*A x = A* y        without noise,

starting at x = x̂ and stopping after M steps, so that x stays in the Krylov space around x̂ and near
the prior's manifold. By default γ = ρ²/σ_y² with ρ = σ/α, the weight of the likelihood against
x₀ ~ N(x̂, ρ²); the paper uses one number for all levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import InvalidOptionError
from sfumato.inverse.problems import Guide, Problem
from sfumato.linalg import conjugate_gradient
from sfumato.processes import Level, like

__all__ = ["DDS"]


@dataclass(frozen=True)
class DDS(Guide):
    """Decomposed diffusion sampling.

    Args:
        iterations: M ≥ 1.
        gamma: γ > 0 for y in units of its noise; if not given, as above.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"linear", "gaussian"})

    iterations: int = 5
    gamma: float | None = None

    def __post_init__(self) -> None:
        if self.iterations < 1 or (self.gamma is not None and not self.gamma > 0):
            raise InvalidOptionError(
                "DDS", f"iterations={self.iterations}, gamma={self.gamma}",
                "use 1 or more iterations and gamma above 0",
            )  # fmt: skip

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        estimate = problem.denoiser(x_t, t, problem.condition)
        operator, noise, x_hat = problem.linear, problem.noise, estimate.mean
        exact = bool((noise == 0).any())
        weight = torch.ones_like(noise) if exact else 1 / noise
        gamma = like(t.ratio**2, x_hat) if self.gamma is None else self.gamma

        def normal(x: Tensor) -> Tensor:
            seen = operator.adjoint(weight * operator(x))
            return seen if exact else x / gamma + seen

        # in d = x − x̂ the right-hand side is the residual, which does not lose digits to x̂
        residual = operator.adjoint(weight * problem.residual(operator(x_hat)))
        step = conjugate_gradient(normal, residual, tolerance=1e-6, iterations=self.iterations)
        return estimate.with_mean(x_hat + step)
