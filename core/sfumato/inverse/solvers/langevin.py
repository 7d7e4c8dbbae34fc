"""Draws of x ~ N(c, r²I) · p(y | A(x)): in closed form, or by preconditioned Langevin steps.

Without a closed form the conditional π is compared with a Gaussian near it, N(m, H⁻¹) with
H = I/r² + JᵀΣ⁻¹J: A linearised, and the likelihood's own normal approximation (``nearby``). A draw
of it is where the chain begins, and H tells the Metropolis-adjusted steps (Roberts & Tweedie, 1996)
their scale in every direction,

    x' = x + δ H⁻¹∇ln π(x) + √(1 − (1 − δ)²) ξ,     ξ ~ N(0, H⁻¹),

accepted with probability min(1, π(x')q(x|x')/π(x)q(x'|x)). The weights of drift and noise are those
of the Crank–Nicolson scheme (Cotter et al., 2013), which leaves N(m, H⁻¹) as it is: where π is that
Gaussian, every proposal is accepted and δ = 1 draws afresh, in any dimension.

Every item has its own δ. It follows an acceptance rate of 0.57, the best one in many dimensions
(Roberts & Rosenthal, 1998), for the first half of the steps, and then stays. There is nothing to
tune: faint and sharp likelihoods, dark and bright elements differ in H.

Where every measured number sees one element of x (``separate``), π is a product over elements.
Each of them is then a chain of its own, with its own δ, accepted or not by itself. That matters for
Poisson noise: the rate of an element without counts is no Gaussian but falls exponentially from a
wall at 0, and one proposal for all such elements hits some wall almost surely.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Problem
from sfumato.inverse.solvers.nearby import Nearby
from sfumato.inverse.solvers.separate import gathering
from sfumato.linalg import dot
from sfumato.noise import Streams

__all__ = ["inner_draw", "langevin"]

ACCEPTANCE = 0.57
SHORTEST = 1e-6  # δ
NEWTON = 5
PARTS = (1.0, 0.5, 0.1, 0.01)  # of a Gauss–Newton step
TAIL = 3.0  # how much further below the mode than d a typical ln π may lie


def inner_draw(
    problem: Problem, centre: Tensor, variance: Tensor, streams: Streams, *, iterations: int
) -> Tensor:
    """A draw of x ~ N(centre, variance) given y: exact if A is linear and its noise Gaussian.

    Args:
        problem: Operator, likelihood, measurement.
        centre: Mean of x without y, ``[batch, *x]``.
        variance: One number, or one per item with all other axes of length 1.
        streams: One stream per item.
        iterations: Langevin steps where there is no closed form.
    """
    operator = problem.operator
    if isinstance(operator, Linear) and operator.likelihood.variance is not None:
        real = centre.real.dtype if centre.is_complex() else centre.dtype
        spread = variance.to(device=centre.device, dtype=real)
        return operator.draw(centre, problem.y, spread, problem.noise, streams)
    return langevin(problem, centre, variance, streams, iterations=iterations)


def langevin(
    problem: Problem, centre: Tensor, variance: Tensor, streams: Streams, *, iterations: int
) -> Tensor:
    """Langevin steps on the conditional; arguments as in ``inner_draw``."""
    real = centre.real.dtype if centre.is_complex() else centre.dtype
    variance = variance.to(device=centre.device, dtype=real)
    target = Conditional.of(problem, centre, variance)
    gaussian, x, value, slope = begin(target, streams)
    drift = gaussian.covariance(slope)
    delta = torch.ones_like(value)
    for index in range(iterations):
        noise, weighted = gaussian.deviation(streams)
        shrink, power = delta.to(real), delta * (2 - delta)
        proposal = x + shrink * drift + power.sqrt().to(real) * noise
        new_value, new_slope = target(proposal)
        new_drift = gaussian.covariance(new_slope)
        back = x - proposal - shrink * new_drift
        forth = (
            target.sum(noise, weighted) / 2
        )  # of the noise, whose H ξ is known without a product
        ratio = new_value - value + forth
        ratio = ratio - target.sum(back, gaussian.precision(back)) / (2 * power)
        chance = ratio.clamp(max=0).exp().nan_to_num(0)
        accepted = streams.uniform(chance) < chance
        x = torch.where(accepted, proposal, x)
        drift = torch.where(accepted, new_drift, drift)
        value = torch.where(accepted, new_value, value)
        if 2 * index < iterations:  # a δ that goes on following the chain would bias it
            delta = delta * torch.exp((chance - ACCEPTANCE) * 2 / (1 + index) ** 0.5)
            delta = delta.clamp(SHORTEST, 1)
    return x


@dataclass(frozen=True, eq=False)
class Conditional:
    """x ↦ ln π(x) and its gradient.

    Values have the axes of x: of its whole shape if π is a product over elements, and otherwise
    with one number per item.

    Args:
        problem: Operator, likelihood, measurement.
        centre: c.
        precision: 1/r², that of each real dimension.
        gather: The sum of what measured numbers say over each element of x; None if they cannot be
            told apart.
    """

    problem: Problem
    centre: Tensor
    precision: Tensor
    gather: Callable[[Tensor], Tensor] | None

    @classmethod
    def of(cls, problem: Problem, centre: Tensor, variance: Tensor) -> Conditional:
        """The conditional; ``variance`` is r² in total if x is complex."""
        power = 2.0 if centre.is_complex() else 1.0
        return cls(problem, centre, power / variance, gathering(problem.operator, centre))

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        operator = self.problem.operator
        y = operator.restrict(self.problem.y)
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            density = operator.likelihood.log_density(y, operator.restrict(operator(at)))
            (gradient,) = torch.autograd.grad(density.sum(), at)
        pull = self.precision * (x - self.centre)
        value = self.joined(density.detach()) - self.sum(x - self.centre, pull) / 2
        return value, gradient - pull

    def joined(self, density: Tensor) -> Tensor:
        """Sums over all that one factor of π holds."""
        if self.gather is not None:
            return self.gather(density)
        return column(density.flatten(1).sum(dim=1, dtype=torch.float64), self.centre)

    def sum(self, a: Tensor, b: Tensor) -> Tensor:
        """Scalar products over one factor's part of x."""
        return a * b if self.gather is not None else column(dot(a, b), self.centre)

    def nearby(self, x: Tensor) -> Nearby:
        """The Gaussian near π, with A linearised at ``x``."""
        return Nearby.at(self.problem, x, 1 / self.precision, separate=self.gather is not None)

    @property
    def dimensions(self) -> int:
        """How many elements of x one factor has."""
        return 1 if self.gather is not None else self.centre[0].numel()


def begin(target: Conditional, streams: Streams) -> tuple[Nearby, Tensor, Tensor, Tensor]:
    """The Gaussian near π, a first x with ln π and gradient.

    Where A is not linear, Gauss–Newton steps go up to the mode, each item's as far as ln π rises.
    The first x is a draw of the Gaussian; where that would be far less likely than such a draw
    is (ln π lies d/2 below the mode on average), it is the mode itself.
    """
    x = target.centre
    value, slope = target(x)
    linear = isinstance(target.problem.operator, Linear)
    gaussian = target.nearby(x)
    for _ in range(1 if linear else NEWTON):
        step = gaussian.ascent(x, target.centre)
        done = torch.zeros_like(value, dtype=torch.bool)
        for part in PARTS:
            there = x + part * step
            new_value, new_slope = target(there)
            better = (new_value > value) & ~done
            done = done | better
            x, slope = torch.where(better, there, x), torch.where(better, new_slope, slope)
            value = torch.where(better, new_value, value)
            if bool(done.all()):
                break
        if not linear:
            gaussian = target.nearby(x)
    drawn = x + gaussian.deviation(streams)[0]
    new_value, new_slope = target(drawn)
    typical = new_value > value - target.dimensions - TAIL
    return (
        gaussian,
        torch.where(typical, drawn, x),
        torch.where(typical, new_value, value),
        torch.where(typical, new_slope, slope),
    )


def column(value: Tensor, x: Tensor) -> Tensor:
    """One number per item, with the axes of ``x``."""
    return value.reshape(-1, *(1,) * (x.ndim - 1))
