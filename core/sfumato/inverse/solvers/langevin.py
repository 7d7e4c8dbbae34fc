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
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Problem
from sfumato.inverse.solvers.nearby import Nearby
from sfumato.linalg import dot, per_item
from sfumato.noise import Streams

__all__ = ["inner_draw", "langevin"]

ACCEPTANCE = 0.57
SHORTEST = 1e-6  # δ
NEWTON = 5
PARTS = (1.0, 0.5, 0.1, 0.01)  # of a Gauss–Newton step

Target = Callable[[Tensor], tuple[Tensor, Tensor]]


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
    target = conditional(problem, centre, variance)
    gaussian, x, value, slope = begin(problem, centre, variance, target, streams)
    drift = gaussian.covariance(slope)
    delta = torch.ones_like(value)
    for index in range(iterations):
        noise, weighted = gaussian.deviation(streams)
        shrink, spread = per_item(delta, x), per_item((delta * (2 - delta)).sqrt(), x)
        proposal = x + shrink * drift + spread * noise
        new_value, new_slope = target(proposal)
        new_drift = gaussian.covariance(new_slope)
        back = x - proposal - shrink * new_drift
        forth = dot(noise, weighted) / 2  # of the noise, in which H ξ is known without a product
        ratio = new_value - value + forth
        ratio = ratio - dot(back, gaussian.precision(back)) / (2 * delta * (2 - delta))
        chance = ratio.clamp(max=0).exp().nan_to_num(0)
        accepted = streams.uniform(chance[:, None])[:, 0] < chance
        chosen = per_item(accepted, x) > 0
        x = torch.where(chosen, proposal, x)
        drift = torch.where(chosen, new_drift, drift)
        value = torch.where(accepted, new_value, value)
        if 2 * index < iterations:  # a δ that goes on following the chain would bias it
            delta = delta * torch.exp((chance - ACCEPTANCE) * 2 / (1 + index) ** 0.5)
            delta = delta.clamp(SHORTEST, 1)
    return x


def conditional(problem: Problem, centre: Tensor, variance: Tensor) -> Target:
    """x ↦ ln π(x) and its gradient."""
    power = 2.0 if centre.is_complex() else 1.0  # a complex variance is that of both parts
    operator, y = problem.operator, problem.operator.restrict(problem.y)

    def target(x: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            likelihood = operator.likelihood.log_prob(y, operator.restrict(operator(at)))
            (gradient,) = torch.autograd.grad(likelihood.sum(), at)
        pull = power * (x - centre) / variance
        return likelihood.detach() - dot(x - centre, pull) / 2, gradient - pull

    return target


def begin(
    problem: Problem, centre: Tensor, variance: Tensor, target: Target, streams: Streams
) -> tuple[Nearby, Tensor, Tensor, Tensor]:
    """The Gaussian near π, a first x with ln π and gradient.

    Where A is not linear, Gauss–Newton steps go up to the mode, each item's as far as ln π rises.
    The first x is a draw of the Gaussian; where that would be far less likely than such a draw
    is (ln π lies d/2 below the mode on average), it is the mode itself.
    """
    x = centre
    value, slope = target(x)
    linear = isinstance(problem.operator, Linear)
    gaussian = Nearby.at(problem, x, variance)
    for _ in range(1 if linear else NEWTON):
        step = gaussian.ascent(x, centre)
        done = torch.zeros_like(value, dtype=torch.bool)
        for part in PARTS:
            there = x + part * step
            new_value, new_slope = target(there)
            better = (new_value > value) & ~done
            done = done | better
            chosen = per_item(better, x) > 0
            x, slope = torch.where(chosen, there, x), torch.where(chosen, new_slope, slope)
            value = torch.where(better, new_value, value)
            if bool(done.all()):
                break
        if not linear:
            gaussian = Nearby.at(problem, x, variance)
    drawn = x + gaussian.deviation(streams)[0]
    new_value, new_slope = target(drawn)
    typical = new_value > value - x[0].numel()
    chosen = per_item(typical, x) > 0
    return (
        gaussian,
        torch.where(chosen, drawn, x),
        torch.where(typical, new_value, value),
        torch.where(chosen, new_slope, slope),
    )
