"""Proximal guidance for noise that is not Gaussian but known by its moments, such as rounding.

What a rounded number says depends on what is believed. It tells of z = A x only that it lies in an
interval, which is news where the belief about z is wider than the interval, and none where it is
narrower. A Gaussian of fixed variance cannot say that: for a zero among the coefficients of a JPEG
file, whose interval is wide, it draws every belief to 0.

So at each call the likelihood of each number is replaced by the Gaussian that is right for the
belief at hand (expectation propagation with one pass; Minka, 2001). Before y is looked at, x₀ has
mean x̂ and the variance r² of ``Proximal``, and z

    m = A x̂,     v = r² diag(A A*).

Let μ and w be its mean and variance given y (``Likelihood.moments``). The Gaussian measurement that
leads from N(m, v) to N(μ, w) has the value and the variance

    y' = m + v (μ − m)/(v − w),     σ'² = v w/(v − w),

and with these everything goes on as in ``Proximal``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser, Estimate
from sfumato.inverse.capabilities import data_spread
from sfumato.inverse.conditioning import draw_inflation, isotropic
from sfumato.inverse.guides.proximal import Proximal
from sfumato.inverse.likelihoods import Gaussian as GaussianNoise
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Guide, Problem
from sfumato.linalg import dot, per_item
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level

__all__ = ["Matched", "site"]

FLAT = 1e-6
"""Share of v that y must take away to count as news; below it is rounding."""


@dataclass(frozen=True)
class Matched(Guide):
    """Proximal guidance with the noise matched by moments at every call.

    Args:
        inflation: As in ``Proximal``, but ``None`` is half of ``draw_inflation``, because no quick
            estimate holds the mean here, and wider draws cost it (``photo``, JPEG of quality 10:
            0.1 dB at 2, 0.5 at 4).
        iterations: As in ``Proximal``.
        tolerance: As in ``Proximal``.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"linear", "moments", "variance"})

    inflation: float | None = None
    iterations: int = 30
    tolerance: float = 1e-4

    def __post_init__(self) -> None:
        self.proximal(self.inflation)

    def proximal(self, inflation: float | None) -> Proximal:
        """The guide for Gaussian noise."""
        return Proximal(inflation, self.iterations, self.tolerance)

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        estimate = problem.denoiser(x_t, t, problem.condition)
        operator, m = problem.linear, problem.linear(estimate.mean)
        r2 = isotropic(problem, estimate, t, data_spread(problem.denoiser))
        v = variances(operator, r2, m)
        mu, w = operator.likelihood.moments(problem.y, m, v)
        y, noise = site(m, v, mu, w)
        gaussian = operator.with_likelihood(GaussianNoise(noise.sqrt()))
        matched = Problem(Known(problem.denoiser, estimate), gaussian, operator.restrict(y))
        inflation = self.inflation
        if inflation is None:
            inflation = max(1.0, draw_inflation(problem.denoiser) / 2)
        return self.proximal(inflation)(matched, x_t, t)


@dataclass(frozen=True, eq=False)
class Known(Denoiser):
    """A denoiser that has been asked already, at the only state that it will be asked for."""

    inner: Denoiser
    estimate: Estimate

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.inner.process

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        return self.estimate


def site(m: Tensor, v: Tensor, mu: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Value and variance of the Gaussian measurement that leads from N(m, v) to N(μ, w)."""
    news = torch.maximum(v - w, FLAT * v)
    return m + v * (mu - m) / news, v * w / news


def variances(operator: Linear, r2: Tensor, z: Tensor) -> Tensor:
    """r² diag(A A*), from the operator where it knows it; else the mean of the diagonal for all.

    Args:
        operator: A.
        r2: One number, or one per item.
        z: A x, for its shape.
    """
    known = getattr(operator, "diagonal", None)
    if known is not None:
        found: Tensor = known(r2.to(z), len(z)).to(z)
        return found
    # the mean of the diagonal is that of |A* s|² over random signs s, which all items share
    signs = operator.restrict(torch.where(Streams(0, [0]).uniform(z[:1]) < 0.5, -1.0, 1.0).to(z))
    back = operator.adjoint(signs)
    power = dot(back, back) / dot(signs, signs)
    return per_item(r2.to(power).reshape(-1) * power, z).expand(z.shape)
