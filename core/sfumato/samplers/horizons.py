"""How much diffusion is enough (Franzese et al., 2023).

The bound on −ln p(x₀) of a process that starts at time T has two parts that T trades,

    L(T) = E KL(q(x_T | x₀) ‖ ν) + G(T) + const,

the mismatch at the start, which falls with T, and what the network costs on the way down, which
grows. With the exact denoiser and ever smaller steps only KL(q(x_T) ‖ ν) is left over; with a
trained network G grows faster than that falls, and some T below the end is best. An *auxiliary* ν
that is closer to q(x_T) than noise moves it further down: here a Gaussian with the moments of
data,

    ν = N(α m, α² C + σ² I)    instead of    N(0, σ² I).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import GaussianPrior
from sfumato.errors import ShapeError
from sfumato.processes import Gaussian
from sfumato.samplers.planning import step_costs

__all__ = ["Horizons", "auxiliary", "horizons", "start_gap"]


@dataclass(frozen=True)
class Horizons:
    """The bound for every time that sampling may start at, in nats per element.

    Args:
        times: Decreasing, all above 0.
        start: E KL(q(x_T | x₀) ‖ ν).
        way: Cost of the steps from T down to data.
    """

    times: Tensor
    start: Tensor
    way: Tensor

    @property
    def total(self) -> Tensor:
        """L(T)."""
        return self.start + self.way

    @property
    def best(self) -> float:
        """The time with the least bound."""
        return float(self.times[self.total.argmin()])


def horizons(
    process: Gaussian,
    times: Tensor,
    errors: Float[Tensor, " n"],
    covariance: Float[Tensor, "d d"],
    mean: Float[Tensor, " d"],
    *,
    fitted: bool = False,
) -> Horizons:
    """The criterion, from one table of errors.

    Args:
        process: Of the denoiser.
        times: A fine grid, decreasing; the last is 0.
        errors: Mean square error of x̂ per element at all but the last.
        covariance: Of the data, flattened, in model units.
        mean: Of the data.
        fitted: Whether ν is the Gaussian with these moments; pure noise otherwise.
    """
    size = len(mean)
    if covariance.shape != (size, size):
        raise ShapeError("covariance", covariance.shape, f"{size}×{size}")
    costs = step_costs(process, times, errors)
    steps = costs.diagonal(offset=1)
    powers = torch.linalg.eigvalsh(covariance.double()).clamp(min=0)
    alpha, sigma = process.schedule.alpha(times[:-1]), process.schedule.sigma(times[:-1])
    ratio = (alpha / sigma) ** 2
    if fitted:
        start = torch.log1p(ratio[:, None] * powers).sum(dim=1) / 2
    else:
        start = ratio * (powers.sum() + mean.double().square().sum()) / 2
    return Horizons(times[:-1], start / size, steps.flip(0).cumsum(0).flip(0))


def start_gap(
    process: Gaussian,
    time: float,
    mean: Float[Tensor, " d"],
    covariance: Float[Tensor, "d d"],
    *,
    variance: float | None = None,
) -> Tensor:
    """KL(q(x_T) ‖ N(0, v I)) for Gaussian data, in nats.

    Args:
        process: Which q(x_T) is meant.
        time: T.
        mean: Of the data.
        covariance: Of the data.
        variance: v; σ², which this library starts from, if not given.
    """
    level = process.level(time)
    v = level.sigma**2 if variance is None else torch.tensor(variance, dtype=torch.float64)
    powers = level.alpha**2 * torch.linalg.eigvalsh(covariance.double()) + level.sigma**2
    offset = level.alpha**2 * mean.double().square().sum() / v
    gap: Tensor = ((powers / v - 1 - (powers / v).log()).sum() + offset) / 2
    return gap


def auxiliary(process: Gaussian, data: Float[Tensor, "n *x"]) -> GaussianPrior:
    """The Gaussian with the moments of data, to start from: ``Generated(….sample, ratio)``."""
    rows = data.flatten(1).double()
    mean = rows.mean(dim=0)
    apart = rows - mean
    covariance = apart.T @ apart / (len(rows) - 1)
    return GaussianPrior(process, mean.reshape(data.shape[1:]).to(data.dtype), covariance)
