"""Draws of x ~ N(c, r²I) · p(y | A(x)): in closed form, or by Metropolis-adjusted Langevin steps.

The latter (Roberts & Tweedie, 1996) are for likelihoods and operators without a closed form:

    x' = x + h ∇ ln π(x) + √(2h) ε,    accepted with probability min(1, π(x')q(x|x')/π(x)q(x'|x)).

Every item has its own step size. It starts at the inverse curvature along the gradient, so that
one setting serves faint and sharp likelihoods alike, and follows an acceptance rate of 0.57, the
best one in many dimensions (Roberts & Rosenthal, 1998).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Problem
from sfumato.linalg import dot, norm, per_item
from sfumato.noise import Streams

__all__ = ["inner_draw", "langevin"]

ACCEPTANCE = 0.57

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
    """Langevin steps from ``centre``; arguments as in ``inner_draw``."""

    def target(x: Tensor) -> tuple[Tensor, Tensor]:
        """ln π(x) and its gradient."""
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            likelihood = problem.operator.likelihood.log_prob(problem.y, problem.operator(at))
            (gradient,) = torch.autograd.grad(likelihood.sum(), at)
        apart = x - centre
        return likelihood.detach() - dot(apart, apart / variance) / 2, gradient - apart / variance

    x = centre
    value, slope = target(x)
    h = first_step(target, x, slope, variance)
    for index in range(iterations):
        proposal = x + per_item(h, x) * slope + per_item((2 * h).sqrt(), x) * streams.normal(x)
        new_value, new_slope = target(proposal)
        forth = proposal - x - per_item(h, x) * slope
        back = x - proposal - per_item(h, x) * new_slope
        ratio = new_value - value + (dot(forth, forth) - dot(back, back)) / (4 * h)
        chance = ratio.clamp(max=0).exp().nan_to_num(0)
        accepted = draw_uniform(streams, chance) < chance
        x = torch.where(per_item(accepted, x) > 0, proposal, x)
        slope = torch.where(per_item(accepted, x) > 0, new_slope, slope)
        value = torch.where(accepted, new_value, value)
        h = h * torch.exp((chance - ACCEPTANCE) * 2 / (1 + index) ** 0.5)
    return x


def first_step(target: Target, x: Tensor, slope: Tensor, variance: Tensor) -> Tensor:
    """Inverse curvature of ln π along its gradient, from a finite difference; at most r²."""
    size = norm(slope).clamp(min=1e-300)
    direction = slope / per_item(size, slope)
    root = variance.flatten().sqrt().to(size)
    little = 1e-3 * root.expand_as(size)
    _, moved = target(x + per_item(little, x) * direction)
    curvature = (dot(slope - moved, direction) / little).clamp(min=0)
    return 0.5 / torch.maximum(curvature, 1 / root**2)


def draw_uniform(streams: Streams, like_items: Tensor) -> Tensor:
    """One uniform number per item."""
    return streams.uniform(like_items[:, None])[:, 0]
