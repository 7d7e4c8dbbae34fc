"""The Gaussian that lies near x ~ N(c, r²I) · p(y | A(x)), as products with its covariance.

With A linearised at a point, J its derivative there, and the likelihood as if z = A(x) were normal
with the mean ŷ and the variances Σ of ``Likelihood.normal``,

    H = I/r² + JᵀΣ⁻¹J,        H⁻¹ = r² − r² JᵀW M⁻¹ W J r²,     M = I + r² W J JᵀW,   W = Σ^(−½),

so that elements of which y says nothing (W = 0) need no care. M⁻¹ is taken by conjugate gradients
in the space of y, preconditioned with the mean of diag J Jᵀ: one iteration where A keeps, drops or
mixes elements of its own each. A draw of N(0, H⁻¹) is H⁻¹(n/r + JᵀW n'), n and n' white
(perturb and solve; Papandreou & Yuille, 2010).

Where every number of y sees one element of x (``separate``), JᵀΣ⁻¹J = diag(JᵀΣ⁻¹J 1) and H is
divided by. That also spares H⁻¹ its difference of two numbers near r², which single precision does
not bear where the likelihood is much sharper than r.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.inverse.problems import Problem
from sfumato.linalg import conjugate_gradient, dot, per_item
from sfumato.noise import Streams

__all__ = ["Nearby"]

Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Nearby:
    """N(·, H⁻¹) at a point of each item.

    Args:
        z: A(x) at the point.
        weight: W, real, of the shape of z; 0 where y says nothing.
        pull: JᵀΣ⁻¹(ŷ − A(x)) at the point.
        forward: v ↦ J v.
        adjoint: u ↦ Jᵀ u.
        variance: r² of every real dimension of x: one number, or one per item.
        typical: Mean of diag J Jᵀ over what is measured, of each item.
        diagonal: H, if it is diagonal and known to be.
        iterations: Largest number of conjugate-gradient steps of one solve.
        tolerance: Relative residual at which an item stops earlier.
    """

    z: Tensor
    weight: Tensor
    pull: Tensor
    forward: Map
    adjoint: Map
    variance: Tensor
    typical: Tensor
    diagonal: Tensor | None = None
    iterations: int = 100
    tolerance: float = 1e-5

    @classmethod
    def at(cls, problem: Problem, x: Tensor, variance: Tensor, *, separate: bool = False) -> Nearby:
        """The Gaussian with A linearised at ``x``.

        Args:
            problem: Operator, likelihood, measurement.
            x: Where, ``[batch, *x]``.
            variance: r² of every real dimension.
            separate: Whether every number of y sees one element of x.
        """
        operator = problem.operator
        y = operator.restrict(problem.y)
        z, adjoint = operator.linearise(x)
        mean, spread = operator.likelihood.normal(y)
        weight = operator.restrict(((2 if z.is_complex() else 1) / spread).sqrt())

        def forward(v: Tensor) -> Tensor:
            return operator.jvp(x, v)

        # signs that all items share, so that none depends on its neighbours
        signs = torch.where(Streams(0, [0]).uniform(weight[:1]) < 0.5, -1.0, 1.0)
        probe = torch.where(weight > 0, signs, 0.0).to(z.dtype)
        back = adjoint(probe)
        diagonal = None
        if separate:
            diagonal = 1 / variance + adjoint(weight**2 * forward(torch.ones_like(x)))
        return cls(
            z, weight, adjoint(weight**2 * (mean - z)), forward, adjoint,
            variance,
            dot(back, back) / dot(probe, probe).clamp(min=1), diagonal,
        )  # fmt: skip

    def precision(self, v: Tensor) -> Tensor:
        """H v."""
        if self.diagonal is not None:
            return self.diagonal * v
        return v / self.variance + self.adjoint(self.weight**2 * self.forward(v))

    def covariance(self, b: Tensor) -> Tensor:
        """H⁻¹ b."""
        if self.diagonal is not None:
            return b / self.diagonal
        r2, w = self.variance, self.weight
        inner = w * self.forward(r2 * b)
        solved = conjugate_gradient(
            lambda u: u + w * self.forward(r2 * self.adjoint(w * u)),
            inner, precondition=lambda u: u / self.scale(u),
            tolerance=self.tolerance, iterations=self.iterations,
        )  # fmt: skip
        return r2 * b - r2 * self.adjoint(w * solved)

    def scale(self, u: Tensor) -> Tensor:
        """1 + r² W² mean(diag J Jᵀ)."""
        r2 = self.variance.flatten() * self.typical
        return 1 + per_item(r2, u) * self.weight**2

    def deviation(self, streams: Streams) -> tuple[Tensor, Tensor]:
        """A draw ξ of N(0, H⁻¹), and H ξ."""
        if self.diagonal is not None:
            noise = streams.normal(self.pull) / self.diagonal.sqrt()
            return noise, self.diagonal * noise
        one, other = white(streams, self.pull), white(streams, self.z)
        weighted = one / self.variance.sqrt() + self.adjoint(self.weight * other)
        return self.covariance(weighted), weighted

    def ascent(self, x: Tensor, centre: Tensor) -> Tensor:
        """The step from ``x``, where this was linearised, to the mode of the Gaussian."""
        return self.covariance(self.pull + (centre - x) / self.variance)


def white(streams: Streams, like: Tensor) -> Tensor:
    """Noise of unit variance in every real dimension."""
    noise = streams.normal(like)
    return 2**0.5 * noise if like.is_complex() else noise
