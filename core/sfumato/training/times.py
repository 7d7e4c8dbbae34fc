"""At which noise levels a network is trained.

A distribution of times is its quantile function, t = Q(u) with u uniform in (0, 1), so that the
way in which u is drawn is a choice of its own:

    independent       u_i uniform, one stream per item
    low discrepancy   u_i = frac(u₀ + i/B) over the B items of a step (Kingma et al., 2021)

The second covers all levels in every step, and lowers the variance of the loss; each u_i alone is
still uniform. The log-normal distribution is that of Karras et al. (2022, § 5): ln σ/α is normal.

The likelihood of a diffusion weighs the error of its score by g², the noise that enters per time
(Song et al., 2021b, theorem 1). In terms of ε that is g²/σ², and for every Gaussian process

    g² = dσ²/dt − 2σ² d ln α/dt = 2σ² d(ln σ/α)/dt,    so    (g²/σ²) dt = 2 d(ln σ/α).

Drawing times in proportion to g²/σ² (ibid., § 4.2) is therefore drawing ln σ/α uniformly, and its
quantile is the schedule's own inverse; for VP it is that of ln(e^∫β − 1).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.noise import Streams, derive
from sfumato.processes import Gaussian
from sfumato.training.configs import TrainConfig

__all__ = ["LogNormal", "LogUniform", "Times", "Uniform", "positions", "times"]


class Times(ABC):
    """A distribution of times."""

    @abstractmethod
    def quantile(self, process: Gaussian, u: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """The time below which a share ``u`` of the draws lies; float64."""

    @abstractmethod
    def density(self, process: Gaussian, t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Density at ``t`` with respect to ln σ/α."""


@dataclass(frozen=True)
class LogNormal(Times):
    """ln σ/α ~ N(mean, std²), clamped to the process."""

    mean: float = -1.2
    std: float = 1.2

    def quantile(self, process: Gaussian, u: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        inside = u.double().clamp(1e-15, 1 - 1e-15)  # a draw can be 0, whose quantile is −∞
        log_ratio = self.mean + self.std * torch.special.ndtri(inside)
        return process.schedule.time_of(log_ratio).clamp(max=process.schedule.t_max)

    def density(self, process: Gaussian, t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        z = (process.level(t).log_ratio - self.mean) / self.std
        return (-(z**2) / 2).exp() / (self.std * math.sqrt(2 * math.pi))


@dataclass(frozen=True)
class LogUniform(Times):
    """ln σ/α uniform between the process's ends: importance sampling for the likelihood.

    With the weight ``likelihood`` every level counts alike in the error of ε.
    """

    def quantile(self, process: Gaussian, u: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        low, high = ends(process)
        t = process.schedule.time_of(low + u.double() * (high - low))
        return t.clamp(max=process.schedule.t_max)

    def density(self, process: Gaussian, t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        low, high = ends(process)
        return (1 / (high - low)).expand(t.shape)


@dataclass(frozen=True)
class Uniform(Times):
    """t uniform between the process's smallest and largest time."""

    def quantile(self, process: Gaussian, u: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        schedule = process.schedule
        return schedule.t_min + u.double() * (schedule.t_max - schedule.t_min)

    def density(self, process: Gaussian, t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        schedule = process.schedule
        with torch.enable_grad():
            time = t.detach().double().requires_grad_()
            (slope,) = torch.autograd.grad(schedule.log_ratio(time).sum(), time)
        return 1 / (slope * (schedule.t_max - schedule.t_min))


def ends(process: Gaussian) -> tuple[Tensor, Tensor]:
    """ln σ/α at the smallest and at the largest time, float64."""
    schedule = process.schedule
    found = schedule.log_ratio(torch.tensor([schedule.t_min, schedule.t_max]).double())
    return found[0], found[1]


def times(config: TrainConfig) -> Times:
    """The distribution that ``config`` names."""
    if config.times == "log-uniform":
        return LogUniform()
    if config.times == "uniform":
        return Uniform()
    return LogNormal(config.times_mean, config.times_std)


def positions(
    config: TrainConfig, step: int, items: Sequence[int], total: int
) -> Float[Tensor, " batch"]:
    """Where in (0, 1) the items of a step are, by their numbers among all items ever seen.

    Args:
        config: Says how they are drawn.
        step: Of the optimiser, from 0.
        items: Global sample numbers, ``step · total`` to ``(step + 1) · total − 1``.
        total: Items of one step over all processes.
    """
    if config.low_discrepancy:
        start = torch.Generator().manual_seed(derive(config.seed, "times", step))
        first = torch.rand(1, generator=start, dtype=torch.float64)
        place = torch.tensor([item - step * total for item in items], dtype=torch.float64)
        return (first + place / total) % 1
    streams = Streams(derive(config.seed, "times"), items)
    draws = [torch.rand(1, generator=g, dtype=torch.float64) for g in streams.generators]
    return torch.cat(draws)
