"""DPS (Chung et al., 2023): the gradient of the likelihood at the denoised signal.

    ∇ ln p(y | x_t) ≈ Jᵀ g,       g = ∇_x̂ ln p(y | A(x̂)),       J = ∂x̂/∂x_t,

for any likelihood and any differentiable A. Taken at its word this trusts x̂ as if it were x₀, and
overshoots where x₀ is still uncertain; the paper scales it by hand, per task and step count.

Here the scale follows from the uncertainty. With V = (σ²/α) J the move along d = V g that agrees
best with x₀ ~ N(x̂, V) *and* the likelihood maximises

    φ(η) = ln p(y | A(x̂) + η A'd) − ½ η² gᵀV g,

and μ = x̂ + η d. For Gaussian noise η = gᵀVg/(gᵀVg + ‖A'd‖²/σ_y²); for other likelihoods it is found
by bisection, which costs no evaluation of A or of the network. η lies in [0, 1], depends on neither
step count nor batch, and every item has its own. (The paper's own rule is
``sfumato.inverse.solvers.dps``.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.denoisers import Estimate, tweedie
from sfumato.errors import InvalidOptionError
from sfumato.inverse.problems import Guide, Problem
from sfumato.linalg import dot, per_item
from sfumato.processes import Level

__all__ = ["DPS"]


@dataclass(frozen=True)
class DPS(Guide):
    """Diffusion posterior sampling in likelihood units.

    Args:
        strength: Multiplies the step; 1 is the likelihood's own.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"noisy"})

    strength: float = 1.0

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise InvalidOptionError("DPS", f"strength={self.strength}", "use a number above 0")

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        estimate, covariance = tweedie(problem.denoiser, x_t, t, problem.condition)
        x_hat = estimate.mean
        z, adjoint = problem.operator.linearise(x_hat)
        slope = score(problem, z)
        gradient = adjoint(slope)
        direction = covariance(gradient)
        moved = problem.operator.jvp(x_hat, direction)
        eta = line_search(problem, z, moved, dot(gradient, direction))
        return estimate.with_mean(x_hat + self.strength * per_item(eta, x_hat) * direction)


def score(problem: Problem, z: Tensor) -> Tensor:
    """∇_z ln p(y | z) of each item."""
    with torch.enable_grad():
        at = z.detach().requires_grad_()
        value = problem.operator.likelihood.log_prob(problem.y, at)
        (gradient,) = torch.autograd.grad(value.sum(), at)
    return problem.operator.restrict(gradient)


def line_search(problem: Problem, z: Tensor, moved: Tensor, power: Tensor) -> Tensor:
    """The maximum of φ on [0, 1] for each item, where φ' changes sign.

    Args:
        problem: Measurement and likelihood.
        z: A(x̂).
        moved: A'(x̂) d.
        power: gᵀV g = φ'(0) ≥ 0, per item.
    """

    def rising(eta: Tensor) -> Tensor:
        return dot(score(problem, z + per_item(eta, z) * moved), moved) > eta * power

    # in log η, because the right step may be smaller than 1 by many orders of magnitude
    low, high = torch.full_like(power, -40.0), torch.zeros_like(power)
    for _ in range(30):
        middle = (low + high) / 2
        above = rising(middle.exp())
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    eta = high.exp()
    return torch.where(power > 0, torch.where(rising(torch.ones_like(eta)), 1.0, eta), 0.0)
