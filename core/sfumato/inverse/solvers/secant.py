"""A covariance that one product is known of: V u = g, and v in all other directions.

The smallest change of v I that takes u to g and stays positive is that of Davidon, Fletcher and
Powell (Nocedal & Wright, 2006, section 6.1) with its first factor left out,

    V = v (I − uuᵀ/uᵀu) + ggᵀ/uᵀg,        uᵀg > 0.

It is v I outside the plane of u and g. With B an orthonormal basis of the plane and T = BᵀVB, every
function of V is f(V) = f(v) I + B (f(T) − f(v) I) Bᵀ, and A V A* + Σ is inverted by two more solves
with v A A* + Σ (Woodbury). Inner products are real ones, also of complex x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from sfumato.inverse.problems import Problem
from sfumato.linalg import dot, norm, per_item

__all__ = ["Secant", "Seen"]


@dataclass(frozen=True, eq=False)
class Secant:
    """V of each item.

    Args:
        base: v ≥ 0, ``[batch]``.
        plane: B, two vectors of the shape of x each; zeros where the plane is a line.
        inner: T, ``[batch, 2, 2]``.
    """

    base: Tensor
    plane: tuple[Tensor, Tensor]
    inner: Tensor

    @classmethod
    def fit(cls, u: Tensor, g: Tensor, base: Tensor) -> Secant:
        """V with V u = g, and ``base`` elsewhere; v I where uᵀg is not well above 0."""
        size, length, along = norm(u), norm(g), dot(u, g)
        e = u / per_item(size.clamp(min=TINY), u)
        across = g - per_item(dot(e, g), g) * e
        height = norm(across)
        fine = (along > LEAST * size * length) & torch.isfinite(length)
        flat = ~fine | (height <= 1e-6 * length)
        f = torch.where(per_item(flat, u) > 0, 0.0, across / per_item(height.clamp(min=TINY), u))
        height, size = height.where(~flat, 0.0), size.where(fine, 1.0)
        share = along.where(fine, 1.0)
        corner = (share / size**2).where(fine, base)
        inner = torch.stack(
            [corner, height / size, height / size, base + height**2 / share], dim=1
        ).reshape(-1, 2, 2)
        return cls(base, (torch.where(per_item(fine, u) > 0, e, 0.0), f), inner)

    def map(self, function: Callable[[Tensor], Tensor]) -> Secant:
        """f(V) for f on eigenvalues, which are 0 or more."""
        powers, vectors = torch.linalg.eigh(self.inner)
        powers = function(powers.clamp(min=0))
        inner = vectors @ torch.diag_embed(powers) @ vectors.mT
        return replace(self, base=function(self.base), inner=inner)

    @property
    def excess(self) -> Tensor:
        """T − v I."""
        return self.inner - self.base[:, None, None] * torch.eye(2).to(self.inner)

    def __call__(self, x: Tensor) -> Tensor:
        """V x."""
        inside = torch.stack([dot(b, x) for b in self.plane], dim=1)
        weights = (self.excess @ inside[:, :, None])[..., 0]
        return per_item(self.base, x) * x + self.combine(weights)

    def combine(self, weights: Tensor) -> Tensor:
        """B w."""
        one, other = self.plane
        return per_item(weights[:, 0], one) * one + per_item(weights[:, 1], other) * other

    def select(self, index: Tensor) -> Secant:
        """Some of the items."""
        one, other = self.plane
        return Secant(self.base[index], (one[index], other[index]), self.inner[index])


@dataclass(frozen=True, eq=False)
class Seen:
    """N(A m, S), S = A V A* + Σ: what is expected of y if x ~ N(m, V).

    Args:
        problem: Operator, noise, measurement.
        covariance: V.
    """

    problem: Problem
    covariance: Secant

    @cached_property
    def parts(self) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """A B, (v A A* + Σ)⁻¹ A B and I + (T − v) B*A*(v A A* + Σ)⁻¹A B."""
        columns = [self.problem.linear(b) for b in self.covariance.plane]
        solved = [self.outside(c) for c in columns]
        gram = torch.stack([dot(c, s) for c in columns for s in solved], dim=1).reshape(-1, 2, 2)
        small = torch.eye(2).to(gram) + self.covariance.excess @ gram
        return columns, solved, small

    def outside(self, r: Tensor) -> Tensor:
        """(v A A* + Σ)⁻¹ r."""
        variance = self.covariance.base.to(self.problem.noise).reshape(
            -1, *(1,) * (len(self.problem.shape) - 1)
        )
        return self.problem.linear.solve(r, variance, self.problem.noise)

    def solve(self, r: Tensor) -> Tensor:
        """S⁻¹ r."""
        columns, solved, small = self.parts
        first = self.outside(r)
        inside = torch.stack([dot(c, first) for c in columns], dim=1)[:, :, None]
        weights = torch.linalg.solve(small, self.covariance.excess @ inside)[..., 0]
        taken = [per_item(weights[:, j], r) * s for j, s in enumerate(solved)]
        return first - taken[0] - taken[1]

    def log_prob(self, mean: Tensor) -> Tensor:
        """ln N(y; A m, S), up to what depends on neither m nor V.

        ln |v A A* + Σ| is left out where no spectrum is known; items of one v have it in common.
        """
        problem, base = self.problem, self.covariance.base
        r = problem.residual(problem.linear(mean))
        factor = 1.0 if r.is_complex() else 0.5
        value: Tensor = -factor * dot(r, self.solve(r)) - torch.linalg.slogdet(self.parts[2])[1] / 2
        if not knows_volume(problem):
            return value
        spectrum = problem.linear.spectrum
        assert spectrum is not None
        shape = problem.blank()[:1].expand(1, *problem.shape[1:])
        powers = spectrum.singular.to(base).expand(spectrum.analyse(shape).shape[1:]).flatten()
        volume = (base[:, None] * powers**2 + problem.noise.to(base)).log().sum(dim=1)
        return value - factor * volume


def knows_volume(problem: Problem) -> bool:
    """Whether ln |v A A* + Σ| has a closed form."""
    return problem.linear.spectrum is not None and problem.noise.numel() == 1


TINY = 1e-300
LEAST = 1e-3  # cosine of the angle between u and V u
