"""The laws of a Gaussian process.

α(0) = 1, σ(0) = 0, σ/α increases with t           time 0 is data, time 1 the noisiest level
time_of(ln σ(t)/α(t)) = t
x_t has mean α x₀ and standard deviation σ          ``corrupt``
q(x_t | x_s) q(x_s | x₀) has the moments of q(x_t | x₀)   ``renoise`` (Chapman–Kolmogorov)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level
from sfumato.testing.comparisons import require

__all__ = ["check_process"]

DRAWS = 40_000
X_0 = 2.0


def check_process(process: Gaussian, *, points: int = 33) -> None:
    """Checks every law above.

    Args:
        process: What to check.
        points: Times to look at.

    Raises:
        AssertionError: Naming the law that does not hold.
    """
    check_ends(process)
    times = torch.linspace(process.schedule.t_min, process.schedule.t_max, points).double()
    check_monotone(process, times)
    check_inverse(process, times)
    for t in times[:: max(1, points // 4)]:
        check_moments(process, process.level(t))
    s, t = (process.level(times[int(share * (points - 1))]) for share in (0.3, 0.6))
    check_chain(process, s, t)


def check_ends(process: Gaussian) -> None:
    start = process.level(0.0)
    clean = float(start.alpha) == 1.0 and float(start.sigma) == 0.0
    require(clean, process.schedule, "α(0) = 1 and σ(0) = 0", f"{start.alpha}, {start.sigma}")
    low, high = process.schedule.t_min, process.schedule.t_max
    require(0 < low < high <= 1, process.schedule, "0 < t_min < t_max ≤ 1", f"{low}, {high}")


def check_monotone(process: Gaussian, times: Tensor) -> None:
    alpha, sigma = process.schedule.alpha(times), process.schedule.sigma(times)
    for name, value in (("α", alpha), ("σ", sigma)):
        require(value.dtype == torch.float64, process.schedule, f"{name} is computed in float64")
        require(bool(torch.isfinite(value).all()), process.schedule, f"{name} is finite")
        require(bool((value > 0).all()), process.schedule, f"{name} > 0 between t_min and t_max")
    rising = (sigma / alpha).diff() > 0
    require(bool(rising.all()), process.schedule, "σ/α increases with t")


def check_inverse(process: Gaussian, times: Tensor) -> None:
    found = process.schedule.time_of(process.schedule.log_ratio(times))
    gap = float((found - times).abs().max())
    require(gap < 1e-9, process.schedule, "time_of inverts ln σ/α", f"off by {gap:.2g}")


def check_moments(process: Gaussian, t: Level) -> None:
    x_0 = torch.full((1, DRAWS), X_0, dtype=torch.float64)
    noise = Streams.count(0, 1).normal(x_0)
    require_moments(process, "corrupt", process.corrupt(x_0, t, noise), t)


def check_chain(process: Gaussian, s: Level, t: Level) -> None:
    x_0 = torch.full((1, DRAWS), X_0, dtype=torch.float64)
    streams = Streams.count(0, 1)
    x_s = process.corrupt(x_0, s, streams.normal(x_0))
    x_t = process.renoise(x_s, s, t, streams.normal(x_0))
    require_moments(process, "renoise after corrupt", x_t, t)


def require_moments(process: Gaussian, step: str, x_t: Tensor, t: Level) -> None:
    alpha, sigma = float(t.alpha), float(t.sigma)
    mean, std = float(x_t.mean()), float(x_t.std())
    wide = 5 * sigma / math.sqrt(DRAWS)  # a right mean fails once in 2 million
    where = f"at t = {float(t.t):.3g}"
    require(
        abs(mean - alpha * X_0) <= wide, process.schedule, f"{step} has mean α x₀ {where}",
        f"{mean:.5g}, expected {alpha * X_0:.5g} ± {wide:.2g}",
    )  # fmt: skip
    require(
        abs(std - sigma) <= wide, process.schedule,
        f"{step} has standard deviation σ {where}", f"{std:.5g}, expected {sigma:.5g} ± {wide:.2g}",
    )  # fmt: skip
