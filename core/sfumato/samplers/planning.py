"""What each step costs in the variational bound, and the grid that costs least.

A chain t₀ > t₁ > … > 0 of reverse kernels with x̂ for x₀ and variance v bounds −ln p(x₀) by

    L = KL(q(x_{t₀} | x₀) ‖ ν) + Σ E KL(q(x_s | x_t, x₀) ‖ p(x_s | x_t)) + E[−ln p(x₀ | x_{t_K})]

(Ho, Jain & Abbeel, 2020, eq. 5; its terms are in ``samplers.variances``). A step's cost depends
on its two ends and the mean square error at t alone, so one pass over data prices all steps between
all pairs of N levels, and the cheapest grid of K of them is a shortest path (Watson, Ho, Norouzi &
Chan, 2021), found in O(K N²). What is cheapest in nats is not what looks best: such grids crowd at
low noise.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.processes import Gaussian, Level
from sfumato.samplers.base import bridge_variance
from sfumato.samplers.variances import forward_variance, kernel_kl, widened_variance

__all__ = ["VARIANCES", "dynamic_grid", "path_cost", "shortest", "step_costs", "step_variance"]

VARIANCES = ("small", "large", "analytic")


def step_costs(
    process: Gaussian,
    times: Tensor,
    errors: Float[Tensor, " n"],
    *,
    variance: str = "analytic",
) -> Float[Tensor, "m m"]:
    """Cost of the step from each time to each later one, in nats per element; ∞ upwards.

    The last step, to data, has a Gaussian decoder with the error's own variance, whatever
    ``variance`` is.

    Args:
        process: Whose times.
        times: Decreasing, m = n + 1 of them; the last is 0.
        errors: Mean square error of x̂ at all but the last, per element.
        variance: ``"small"`` (β̃), ``"large"`` (β) or ``"analytic"`` (β̃ + k₀² error, the best).
    """
    if variance not in VARIANCES:
        raise InvalidOptionError(
            "step costs", f"variance={variance!r}", f"use one of {', '.join(VARIANCES)}"
        )
    if len(errors) != len(times) - 1 or float(times[-1]) != 0:
        raise ShapeError("errors", errors.shape, f"{len(times) - 1}, one per time above 0")
    levels = process.levels(times)
    costs = torch.full((len(times), len(times)), math.inf, dtype=torch.float64)
    for i, t in enumerate(levels[:-1]):
        error = errors[i].double()
        costs[i, -1] = (torch.log(2 * math.pi * error) + 1) / 2
        if i + 2 < len(times):
            inner = levels[i + 1 : -1]
            s = Level(
                torch.stack([level.t for level in inner]),
                torch.stack([level.alpha for level in inner]),
                torch.stack([level.sigma for level in inner]),
            )
            costs[i, i + 1 : -1] = kernel_kl(t, s, error, step_variance(variance, t, s, error))
    return costs


def step_variance(kind: str, t: Level, s: Level, error: Tensor) -> Tensor:
    """v of a kind of ``VARIANCES``, with the mean square error of x̂ at t."""
    if kind == "small":
        return bridge_variance(t, s)
    if kind == "large":
        return forward_variance(t, s)
    return widened_variance(t, s, error, error)


def shortest(costs: Float[Tensor, "m m"], steps: int) -> list[int]:
    """Indices of the cheapest path of so many steps from the first level to the last.

    Raises:
        InvalidOptionError: If there are not so many levels.
    """
    count = len(costs)
    if not 1 <= steps < count:
        raise InvalidOptionError("grid", f"steps={steps}", f"use 1 to {count - 1} with these times")
    best, came = costs[0].clone(), []
    for _ in range(steps - 1):
        total, origin = (best[:, None] + costs).min(dim=0)
        best = total
        came.append(origin)
    path = [count - 1]
    for origin in reversed(came):
        path.append(int(origin[path[-1]]))
    return [0, *reversed(path)]


def path_cost(costs: Float[Tensor, "m m"], path: list[int]) -> Tensor:
    """Sum of the costs along a path."""
    return costs[path[:-1], path[1:]].sum()


def dynamic_grid(
    process: Gaussian,
    steps: int,
    times: Tensor,
    errors: Float[Tensor, " n"],
    *,
    variance: str = "analytic",
) -> Tensor:
    """The grid of ``steps`` of the ``times`` with the least bound; arguments as ``step_costs``."""
    return times[shortest(step_costs(process, times, errors, variance=variance), steps)]
