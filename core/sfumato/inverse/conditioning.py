"""Conditioning a Gaussian on a measurement, with covariances known only through products.

If x₀ ~ N(x̂, V) and y = A x₀ + N(0, Σ), then x₀ given y is N(μ, C) with

    μ = x̂ + K (y − A x̂),     K = V A* (A V A* + Σ)⁻¹,     C = V − K A V.

A draw costs one more solve and no factorisation (perturb and solve; Papandreou & Yuille, 2010):
with x' ~ N(x̂, V) and n ~ N(0, Σ),

    x' + K (y + n − A x') ~ N(μ, C).

For a network V v = (σ²/α) Jᵀ v is a backward pass, so products with V are what is counted here.

Where A and V are both diagonal so are K and C, and the elements of x₀ stay independent. Then the
Gaussian is given by its mean and variances, and whoever draws from it may add other noise first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sfumato.denoisers import Denoiser, Estimate
from sfumato.denoisers.base import layers
from sfumato.denoisers.equal_channels import EqualChannels
from sfumato.inverse.capabilities import data_spread
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Problem
from sfumato.inverse.standard import Selection
from sfumato.linalg import dot, moved, norm, per_item
from sfumato.noise import Streams
from sfumato.processes import Level, like

__all__ = [
    "INFLATION",
    "Conditioning",
    "draw_inflation",
    "independent",
    "isotropic",
    "simulated",
    "square_root",
    "unexplained",
    "widened",
]

INFLATION = 4.0
"""With ``photo``, samples of super-resolution, deblurring, denoising and filling of held-out
photographs then spread about as far as their mean errs; see docs/solvers.md."""

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Conditioning:
    """N(x̂, V), a measurement linearised at x̂, and K.

    Args:
        problem: Operator, measurement and noise.
        x_hat: Mean of x₀ given x_t.
        covariance: v ↦ V v.
        typical: A number (or one per item) near the eigenvalues of V, for preconditioning.
        iterations: Largest number of products with V in one solve.
        tolerance: Share of the residual at which an item stops earlier.
    """

    problem: Problem
    x_hat: Tensor
    covariance: Map
    typical: Tensor
    iterations: int
    tolerance: float

    @cached_property
    def linearised(self) -> tuple[Tensor, Map]:
        """A(x̂) and v ↦ A'(x̂)* v."""
        return self.problem.operator.linearise(self.x_hat)

    def forward(self, v: Tensor) -> Tensor:
        """A'(x̂) v."""
        return self.problem.operator.jvp(self.x_hat, v)

    def mean(self) -> Tensor:
        """μ."""
        return self.x_hat + self.gain(self.problem.residual(self.linearised[0]))

    def draw(self, deviation: Tensor, streams: Streams) -> Tensor:
        """A draw of N(μ, C), given a draw ``deviation`` of N(0, V)."""
        restrict, seen = self.problem.operator.restrict, self.forward(deviation)
        residual = restrict(simulated(self.problem, streams) - self.linearised[0] - seen)
        return self.x_hat + deviation + self.gain(residual)

    def gain(self, residual: Tensor) -> Tensor:
        """K r by preconditioned conjugate gradients, with one product with V per iteration.

        The sum is kept in x (Σ step · V A* p), so the last product with V comes for free.
        """
        noise, adjoint = self.problem.noise, self.linearised[1]
        r = residual
        z = p = self.precondition(r)
        rho = dot(r, z)
        goal = self.tolerance**2 * rho
        active = rho > 0
        total = torch.zeros_like(self.x_hat)
        for number in range(1, self.iterations + 1):
            if not bool(active.any()):
                break
            vp = self.covariance(adjoint(p))
            mp = torch.addcmul(self.forward(vp), noise, p)
            curvature = dot(p, mp)
            # an inexact Jacobian may not be positive; such an item keeps its last iterate
            active = active & (curvature > 0)
            step = torch.where(active, rho / curvature.where(active, 1.0), 0.0)
            total = moved(total, step, vp)
            if number == self.iterations:
                break
            r = moved(r, -step, mp)
            z = self.precondition(r)
            rho, previous = dot(r, z), rho
            active = active & (rho > goal)
            p = moved(z, torch.where(active, rho / previous.where(active, 1.0), 0.0), p)
        return total

    def precondition(self, r: Tensor) -> Tensor:
        """(r² A A* + σ²)⁻¹ r where a spectrum is known, which costs no product with V."""
        operator, noise = self.problem.operator, self.problem.noise
        if isinstance(operator, Selection):
            return r  # the spectrum is flat: a factor, which conjugate gradients do not notice
        if isinstance(operator, Linear) and noise.numel() == 1 and operator.spectrum is not None:
            return operator.spectrum.solve(r, self.typical, noise)
        return r


def independent(problem: Problem, x_hat: Tensor, variance: Tensor, gain: Tensor) -> Estimate:
    """x' + K (y + n − A x') for x' of independent elements and an operator that has ``gain``.

    Its mean is x̂ + K (y − x̂) and its variance (1 − K)² var + K² Σ, element by element.

    Args:
        problem: Operator, measurement and noise.
        x_hat: Mean of x'.
        variance: Its variances; broadcastable to ``x_hat``.
        gain: K, 0 where nothing is measured; broadcastable to ``x_hat``.
    """
    K = gain.to(device=x_hat.device, dtype=x_hat.real.dtype if x_hat.is_complex() else x_hat.dtype)
    # where nothing is measured y may hold anything, infinities too, which 0 · y would keep
    mean = torch.where(K != 0, x_hat.lerp(problem.y, K.to(x_hat.dtype)), x_hat)
    left = (1 - K) ** 2 * variance
    return Estimate(mean, variance=left.add_(K**2 * problem.noise))


def draw_inflation(denoiser: Denoiser) -> float:
    """Factor on the reported variance for draws of x₀.

    Where one grey channel stands for several, white noise of it is in all of them, and none of it
    is in colours, from which the network would take it out: so it needs that much less.
    """
    for layer in layers(denoiser):
        if isinstance(layer, EqualChannels):
            return max(1.0, INFLATION / layer.channels)
    return INFLATION


def unexplained(looks: Tensor, denoiser: Denoiser) -> Tensor:
    """r² = ρ²v/(ρ² + v), the variance of x₀ if the prior knows only that of its data, v.

    Args:
        looks: ρ², the variance at which x₀ is seen; of any shape.
        denoiser: Says v.
    """
    v = data_spread(denoiser) ** 2
    return looks * v / (looks + v)


def widened(variance: Tensor, widest: Tensor, factor: float) -> Tensor:
    """Variance of the elements of a draw of x₀, given what the denoiser reports.

    Draws of independent elements lack the correlations of the truth, so the next evaluation takes a
    part of them out again as noise; and a network is smoother than E[x₀ | x_t], which narrows the
    samples a little more at each level. Hence a factor on the reported variance. But no component
    of x₀ has more variance given x_t than r², what it has if the prior says nothing: with this
    bound a Gaussian with the exact denoiser keeps its spread (``benchmarks/truth.py``), and
    without it samples of photographs ran away at a factor of 5.

    Args:
        variance: What the denoiser reports.
        widest: r², broadcastable to it.
        factor: On the reported variance; ``draw_inflation``, if the user says nothing.
    """
    inflated = factor * variance
    if factor <= 1:
        return inflated
    return inflated.clamp(max=widest.to(inflated)).clamp_(min=variance)


def simulated(problem: Problem, streams: Streams) -> Tensor:
    """y + n: the measurement with fresh noise of its own strength. Without noise nothing is drawn.

    Treated as read-only, because it may be y itself.
    """
    noise = problem.noise
    if not bool((noise != 0).any()):
        return problem.y
    return streams.perturb_(problem.y.clone(), noise.sqrt())


def isotropic(
    problem: Problem, estimate: Estimate, t: Level, spread: float | None = None
) -> Tensor:
    """Variance of x₀ given x_t as one number per item (or one for all).

    The mean of the denoiser's own variance where it reports one; else that of Gaussian data with
    standard deviation ``spread`` v^½ (the prior's if not given): r² = ρ²v/(ρ² + v), ρ = σ/α.
    """
    x_hat = estimate.mean
    if spread is None and estimate.variance is not None:
        variance = estimate.variance.expand_as(x_hat).flatten(1).mean(dim=1)
        return variance.clamp(min=torch.finfo(variance.dtype).tiny).reshape(
            -1, *(1,) * (x_hat.ndim - 1)
        )
    v = (data_spread(problem.denoiser) if spread is None else spread) ** 2
    ratio = like(t.sigma, x_hat) ** 2
    return ratio * v / (ratio + like(t.alpha, x_hat) ** 2 * v)


def square_root(covariance: Map, z: Tensor, iterations: int) -> Tensor:
    """V^½ z per item by Lanczos steps, one product with V each, fewer where they are exact.

    With Q the orthonormal basis of the Krylov space of z and T = Qᵀ V Q, this is ‖z‖ Q T^½ e₁. Its
    expected square norm is that of V^½ z after any number of steps, because e₁ᵀ T e₁ is exact.
    """
    size = norm(z)
    q = z / per_item(size.clamp(min=1e-300), z)
    basis: list[Tensor] = []
    diagonal: list[Tensor] = []
    off: list[Tensor] = []
    beta, rounding = torch.zeros_like(size), 100 * torch.finfo(z.dtype).eps
    while True:
        w = covariance(q)
        if basis:
            w = moved(w, -beta, basis[-1])
        basis.append(q)
        alpha = dot(q, w)
        diagonal.append(alpha)
        if len(basis) == iterations:
            break
        w = moved(w, -alpha, q)
        for other in basis:  # rounding would cost orthogonality
            w = moved(w, -dot(other, w), other)
        beta = norm(w)
        # the Krylov space is exhausted where what is left is rounding
        beta = torch.where(beta > rounding * alpha.abs(), beta, 0.0)
        if not bool(beta.any()):
            break
        off.append(beta)
        q = w * per_item(torch.where(beta > 0, 1 / beta.where(beta > 0, 1.0), 0.0), w)
    tridiagonal = torch.diag_embed(torch.stack(diagonal, dim=1))
    if off:
        side = torch.stack(off, dim=1)
        tridiagonal = tridiagonal + torch.diag_embed(side, 1) + torch.diag_embed(side, -1)
    # an item that is not finite must not make the decomposition of the others fail
    fine = torch.isfinite(tridiagonal).flatten(1).all(dim=1)
    powers, vectors = torch.linalg.eigh(torch.where(fine[:, None, None], tridiagonal, 0.0))
    weights = (vectors * powers.clamp(min=0).sqrt()[:, None] * vectors[:, :1]).sum(dim=2)
    weights = torch.where(fine[:, None], weights * size[:, None], torch.nan)
    root = per_item(weights[:, 0], z) * basis[0]
    for i, q in enumerate(basis[1:], start=1):
        root = moved(root, weights[:, i], q)
    return root
