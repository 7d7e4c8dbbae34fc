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

__all__ = ["GRIDS", "karras", "log_snr", "uniform"]


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
    high, low = bounds(process, start, end, steps)
    times = process.schedule.time_of(torch.tensor([high, low], dtype=torch.float64).log())
    if start is None:
        times[0] = process.schedule.t_max
    grid = torch.linspace(times[0].item(), times[1].item(), steps, dtype=torch.float64)
    return torch.cat([grid, torch.zeros(1, dtype=torch.float64)])


GRIDS: dict[str, Callable[..., Tensor]] = {
    "log-snr": log_snr,
    "karras": karras,
    "uniform": uniform,
}


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
