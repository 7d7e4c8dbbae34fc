"""Grids: decreasing times from the noisiest level to 0, as data that every sampler takes.

A grid of K steps has K + 1 times; the last is 0. Default is uniform in log-SNR, which spends steps
where images take shape and is the same for every process.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.processes.gaussian import Gaussian

__all__ = [
    "GRIDS",
    "fibonacci",
    "karras",
    "log_snr",
    "quadratic",
    "relaid",
    "uniform",
    "var_linear",
    "var_quadratic",
]


def log_snr(
    process: Gaussian, steps: int, *, start: float | None = None, end: float | None = None
) -> Tensor:
    """Times uniform in ln σ/α, then 0.

    Args:
        process: Whose times.
        steps: Number of steps, 1 or more.
        start: Noise-to-signal ratio σ/α to start at; the process's largest if not given.
        end: Smallest non-zero ratio; the process's smallest if not given.
    """
    return by_ratio(process, steps, start, end, torch.log, torch.exp)


def karras(
    process: Gaussian,
    steps: int,
    *,
    rho: float = 7.0,
    start: float | None = None,
    end: float | None = None,
) -> Tensor:
    """Times uniform in (σ/α)^(1/ρ), then 0 (Karras et al., 2022, eq. 5)."""
    return by_ratio(process, steps, start, end, lambda r: r ** (1 / rho), lambda u: u**rho)


def uniform(
    process: Gaussian, steps: int, *, start: float | None = None, end: float | None = None
) -> Tensor:
    """Times uniform in t from the largest to the smallest, then 0."""
    return by_time(process, steps, start, end, 1.0)


def quadratic(
    process: Gaussian, steps: int, *, start: float | None = None, end: float | None = None
) -> Tensor:
    """Times uniform in √t, then 0: more of them at low noise (DDIM's quadratic sub-sequence)."""
    return by_time(process, steps, start, end, 2.0)


def var_linear(
    process: Gaussian, steps: int, *, start: float | None = None, end: float | None = None
) -> Tensor:
    """Levels from step variances that grow linearly (FastDPM's VAR; Kong & Ping, 2021, § 3.2)."""
    return by_variance(process, steps, start, end, lambda low, x, i: low + x * i)


def var_quadratic(
    process: Gaussian, steps: int, *, start: float | None = None, end: float | None = None
) -> Tensor:
    """Levels from step variances that grow quadratically (FastDPM's VAR)."""
    return by_variance(process, steps, start, end, lambda low, x, i: low * (1 + x * i) ** 2)


def fibonacci(
    process: Gaussian, steps: int, *, start: float | None = None, end: float | None = None
) -> Tensor:
    """Levels from step variances with η_{j+2} = η_{j+1} + η_j (San-Roman et al., 2021, § 3).

    For few steps: the variances grow by 1.6 from step to step, so that from σ/α = 0.01 some 20
    steps have made noise of anything.
    """

    def shape(low: float, x: Tensor, i: Tensor) -> Tensor:
        return low * fibonacci_numbers(i - 1) + (low + x) * fibonacci_numbers(i)

    return by_variance(process, steps, start, end, shape)


def relaid(process: Gaussian, plan: Tensor, t: Tensor, seen: Tensor) -> Tensor:
    """σ/α to go to next from one that was not planned (ibid., algorithm 3).

    The variances of the steps that are left keep their proportions, η_j → x η_j, with x such that
    Π (1 − x η_j) is the level seen. Linear variances stay linear, and sums of the two before sums.

    Args:
        process: Whose times.
        plan: A grid of it.
        t: The time of the plan that the step starts at.
        seen: σ/α that it really starts at, one per item or 0-dimensional.

    Raises:
        InvalidOptionError: If the plan has no step from ``t`` to noise.
    """
    left = plan[(plan <= t * (1 + 1e-9)) & (plan > 0)].flip(0)
    if len(left) < 2 or abs(float(left[-1] - t)) > 1e-9:
        raise InvalidOptionError(
            "relaid grid", f"a step from t={float(t):g}, which the plan has not",
            "give the grid that the sampler runs on",
        )  # fmt: skip
    logs = -torch.log1p(process.schedule.log_ratio(left).mul(2).exp())
    eta = -torch.expm1(torch.diff(logs, prepend=logs.new_zeros(1)))

    goal = -torch.log1p(seen.double().square())[..., None]
    # both are above x, and from above Newton's steps on this concave sum fall to it
    x = torch.minimum(-goal / eta.sum(), -torch.expm1(goal) / eta.max())
    for _ in range(10):
        kept = 1 - x * eta
        x = x + (kept.log().sum(-1, keepdim=True) - goal) / (eta / kept).sum(-1, keepdim=True)
    return torch.expm1(-torch.log1p(-x * eta)[..., :-1].sum(-1)).sqrt()


GRIDS: dict[str, Callable[..., Tensor]] = {
    "log-snr": log_snr,
    "karras": karras,
    "uniform": uniform,
    "quadratic": quadratic,
    "var-linear": var_linear,
    "var-quadratic": var_quadratic,
    "fibonacci": fibonacci,
}


def by_time(
    process: Gaussian, steps: int, start: float | None, end: float | None, power: float
) -> Tensor:
    """Times uniform in t^(1/power)."""
    high, low = bounds(process, start, end, steps)
    times = process.schedule.time_of(torch.tensor([high, low], dtype=torch.float64).log())
    if start is None:
        times[0] = process.schedule.t_max
    first, last = (times ** (1 / power)).tolist()
    grid = torch.linspace(first, last, steps, dtype=torch.float64) ** power
    grid[0] = times[0]
    return torch.cat([grid, torch.zeros(1, dtype=torch.float64)])


def by_variance(
    process: Gaussian,
    steps: int,
    start: float | None,
    end: float | None,
    shape: Callable[[float, Tensor, Tensor], Tensor],
) -> Tensor:
    """Levels ᾱ_k = Π_{j ≤ k} (1 − η_j) of a process with σ² = 1 − α², at the same σ/α.

    η₁ is that of the lowest level; the growth x of η_j = shape(η₁, x, j − 1) is found by bisection
    so that the last product is the highest level.
    """
    high, low = bounds(process, start, end, steps)
    first, goal = low**2 / (1 + low**2), -math.log1p(high**2)
    i = torch.arange(steps, dtype=torch.float64)

    def logs(x: Tensor) -> Tensor:
        return torch.log1p(-shape(first, x, i).clamp(0, 1)).cumsum(0)

    below, above = torch.zeros(2, dtype=torch.float64)
    above = above + 1.0
    while steps > 1 and float(logs(above)[-1]) > goal:
        above = above * 2
    if steps > 1 and float(logs(below)[-1]) < goal:
        raise InvalidOptionError(
            "grid", f"{steps} steps from {high:g} to {low:g} cannot have growing variances",
            "use fewer steps or a lower end",
        )  # fmt: skip
    for _ in range(200):
        x = (below + above) / 2
        enough = logs(x)[-1] > goal
        below, above = torch.where(enough, x, below), torch.where(enough, above, x)
    ratios = torch.expm1(-logs(below)).log().flip(0) / 2
    ratios[0] = math.log(high)
    times = process.schedule.time_of(ratios)
    if start is None:
        times[0] = process.schedule.t_max
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)])


def fibonacci_numbers(n: Tensor) -> Tensor:
    """F_n for n ≥ −1, from F_{−1} = 1 and F_0 = 0, by Binet's formula."""
    golden = (1 + math.sqrt(5)) / 2
    return ((golden**n - (1 - golden) ** n) / math.sqrt(5)).round()


def by_ratio(
    process: Gaussian,
    steps: int,
    start: float | None,
    end: float | None,
    forward: Callable[[Tensor], Tensor],
    backward: Callable[[Tensor], Tensor],
) -> Tensor:
    high, low = bounds(process, start, end, steps)
    ends = forward(torch.tensor([high, low], dtype=torch.float64))
    part = torch.linspace(0, 1, steps, dtype=torch.float64)
    ratios = backward(ends[0] + part * (ends[1] - ends[0]))
    times = process.schedule.time_of(ratios.log())
    if start is None:
        times[0] = process.schedule.t_max
    return torch.cat([times, torch.zeros(1, dtype=torch.float64)])


def bounds(
    process: Gaussian, start: float | None, end: float | None, steps: int
) -> tuple[float, float]:
    if steps < 1:
        raise InvalidOptionError("grid", f"steps={steps}", "use 1 or more")
    schedule = process.schedule
    extremes = torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64)
    # a schedule whose α vanishes at t_max has no finite ratio there; 10⁴ is noise to any data
    high, low = schedule.log_ratio(extremes).exp().clamp(max=1e4).tolist()
    high, low = start or high, end or min(low, start or math.inf)
    if not 0 < low <= high:
        raise InvalidOptionError("grid", f"start={start}, end={end}", "use 0 < end <= start")
    return high, low
