"""Noise schedules: the signal scale α(t) and the noise scale σ(t) for t in [0, 1].

    x_t = α(t) x₀ + σ(t) ε,    ε ~ N(0, I)

Time 0 is data, time 1 the noisiest level. Everything is computed in float64. At t = 0 exactly
α = 1 and σ = 0, whatever the formula's limit is, so that a grid that ends in 0 ends in data.
"""

from __future__ import annotations

import functools
import itertools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError

__all__ = ["EDM", "VE", "VP", "Cosine", "Flow", "LinearBeta", "Schedule", "SubVP", "Table"]


class Schedule(ABC):
    """A pair of functions α(t), σ(t) with σ/α increasing in t.

    Attributes:
        t_min: The smallest time a default grid visits before 0.
        t_max: The time at which sampling starts.
    """

    t_min: float = 1e-3
    t_max: float = 1.0

    @abstractmethod
    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """α and σ at ``t`` in (0, 1], float64."""

    def alpha(self, t: Tensor) -> Tensor:
        """α(t) in float64; 1 at t = 0."""
        t = torch.as_tensor(t, dtype=torch.float64)
        return torch.where(t > 0, self.scales(t)[0], 1.0)

    def sigma(self, t: Tensor) -> Tensor:
        """σ(t) in float64; 0 at t = 0."""
        t = torch.as_tensor(t, dtype=torch.float64)
        return torch.where(t > 0, self.scales(t)[1], 0.0)

    def log_ratio(self, t: Tensor) -> Tensor:
        """ln σ(t)/α(t), minus half the log-SNR, for t in (0, 1]."""
        alpha, sigma = self.scales(torch.as_tensor(t, dtype=torch.float64))
        return sigma.log() - alpha.log()

    def time_of(self, log_ratio: Tensor) -> Tensor:
        """The time at which ln σ/α has a value; clamped to [t_min, 1]."""
        # e^±350 is beyond any schedule; infinities, of pure noise and of data, would become NaN
        target = torch.as_tensor(log_ratio, dtype=torch.float64).clamp(-350, 350)
        return self.inverse(target).clamp(self.t_min, 1.0)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        """As ``time_of``, but not clamped from below; by bisection where no formula is known."""
        low, high = torch.zeros_like(log_ratio), torch.ones_like(log_ratio)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.log_ratio(middle) < log_ratio
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return high


@dataclass(frozen=True)
class VP(Schedule):
    """Variance-preserving SDE with linear β(t) (Song et al., 2021, eq. 32–33).

    α² = exp(−½ t² (β₁ − β₀) − t β₀), σ² = 1 − α². DDPM's linear table is its discretisation.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        integral = integrated_beta(t, self.beta_min, self.beta_max)
        return (-integral / 2).exp(), (-torch.expm1(-integral)).sqrt()

    def inverse(self, log_ratio: Tensor) -> Tensor:
        integral = torch.logaddexp(2 * log_ratio, torch.zeros_like(log_ratio))  # ln(1 + (σ/α)²)
        return time_of_integral(integral, self.beta_min, self.beta_max)


@dataclass(frozen=True)
class SubVP(Schedule):
    """Sub-VP SDE (Song et al., 2021, eq. 29): α as in VP, σ = 1 − α²."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: float = 1e-2

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        integral = integrated_beta(t, self.beta_min, self.beta_max)
        return (-integral / 2).exp(), -torch.expm1(-integral)

    def inverse(self, log_ratio: Tensor) -> Tensor:
        integral = 2 * torch.asinh(log_ratio.exp() / 2)  # σ/α = 1/α − α = 2 sinh(−ln α)
        return time_of_integral(integral, self.beta_min, self.beta_max)


@dataclass(frozen=True)
class VE(Schedule):
    """Variance-exploding SDE (Song et al., 2021, eq. 30): α = 1, σ geometric in t."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        check_range("VE", self.sigma_min, self.sigma_max)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        sigma = self.sigma_min * (self.sigma_max / self.sigma_min) ** t
        return torch.ones_like(sigma), sigma

    def inverse(self, log_ratio: Tensor) -> Tensor:
        low, high = math.log(self.sigma_min), math.log(self.sigma_max)
        return (log_ratio - low) / (high - low)


@dataclass(frozen=True)
class EDM(Schedule):
    """α = 1 and σ^(1/ρ) linear in t: uniform times are the grid of Karras et al. (2022, eq. 5)."""

    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0
    t_min: float = 1e-6

    def __post_init__(self) -> None:
        check_range("EDM", self.sigma_min, self.sigma_max)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        sigma = (low + t * (high - low)) ** self.rho
        return torch.ones_like(sigma), sigma

    def inverse(self, log_ratio: Tensor) -> Tensor:
        low, high = self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)
        root: Tensor = (log_ratio / self.rho).exp()
        share: Tensor = (root - low) / (high - low)
        return share


@dataclass(frozen=True)
class Flow(Schedule):
    """The straight path of flow matching and rectified flow: α = 1 − t, σ = t.

    (Lipman et al., 2023; Liu, Gong & Liu, 2023.) Sampling starts just below t = 1, where α = 0 and
    the ratio σ/α is infinite; the noise is 200 times the data there.
    """

    t_max: float = 0.995

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return 1 - t, t.clone()

    def inverse(self, log_ratio: Tensor) -> Tensor:
        return torch.sigmoid(log_ratio)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Cosine schedule (Nichol & Dhariwal, 2021, eq. 17) in continuous time.

    α = cos(π/2 · (t + s)/(1 + s)) / cos(π/2 · s/(1 + s)). At t = 1, α would be 0; their cap of β
    at 0.999 becomes ``t_max``.
    """

    offset: float = 0.008
    t_max: float = 0.999

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        alpha = torch.cos((t + self.offset) * self.speed) / math.cos(self.offset * self.speed)
        alpha = alpha.clamp(1e-12, 1.0)
        return alpha, (1 - alpha**2).clamp(min=0).sqrt()

    def inverse(self, log_ratio: Tensor) -> Tensor:
        alpha = torch.sigmoid(-2 * log_ratio).sqrt()
        return torch.acos(alpha * math.cos(self.offset * self.speed)) / self.speed - self.offset

    @property
    def speed(self) -> float:
        """Angle per unit of time."""
        return math.pi / 2 / (1 + self.offset)


@dataclass(frozen=True)
class Table(Schedule):
    """A discrete process with a table ᾱ₁ … ᾱ_N of cumulative products (DDPM and its kin).

    Step n (from 0) is time (n + 1)/N. Between steps ln σ/α is interpolated linearly. Checkpoints
    of other libraries bring their tables here.

    Args:
        alphas_cumprod: ᾱ, decreasing, each in (0, 1).
    """

    alphas_cumprod: tuple[float, ...]
    t_min: float = field(init=False)

    def __post_init__(self) -> None:
        values = self.alphas_cumprod
        decreasing = all(a > b for a, b in itertools.pairwise(values))
        if len(values) < 2 or not decreasing or not (values[-1] > 0 and values[0] < 1):
            raise InvalidOptionError(
                "Table", "ᾱ must be a decreasing sequence of at least two numbers in (0, 1)",
                "check the schedule of the checkpoint",
            )  # fmt: skip
        object.__setattr__(self, "t_min", 1 / len(values))

    @functools.cached_property
    def nodes(self) -> Tensor:
        bars = torch.tensor(self.alphas_cumprod, dtype=torch.float64)
        return ((1 - bars).log() - bars.log()) / 2

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        count = len(self.alphas_cumprod)
        place = (t * count - 1).clamp(0, count - 1)
        below = place.floor().long().clamp(max=count - 2)
        part = place - below
        ratio = torch.lerp(self.nodes[below], self.nodes[below + 1], part)
        return torch.sigmoid(-2 * ratio).sqrt(), torch.sigmoid(2 * ratio).sqrt()

    def inverse(self, log_ratio: Tensor) -> Tensor:
        count = len(self.alphas_cumprod)
        above = torch.searchsorted(self.nodes, log_ratio).clamp(1, count - 1)
        low, high = self.nodes[above - 1], self.nodes[above]
        part = ((log_ratio - low) / (high - low)).clamp(0, 1)
        return (above + part) / count


def LinearBeta(steps: int = 1000, beta_min: float = 1e-4, beta_max: float = 0.02) -> Table:  # noqa: N802
    """DDPM's table: β linear from ``beta_min`` to ``beta_max`` (Ho, Jain & Abbeel, 2020, § 4)."""
    betas = torch.linspace(beta_min, beta_max, steps, dtype=torch.float64)
    return Table(tuple((1 - betas).cumprod(0).tolist()))


def integrated_beta(t: Tensor, beta_min: float, beta_max: float) -> Tensor:
    """∫₀ᵗ β(u) du for a linear β."""
    return 0.5 * t**2 * (beta_max - beta_min) + t * beta_min


def time_of_integral(integral: Tensor, beta_min: float, beta_max: float) -> Tensor:
    """The inverse of ``integrated_beta``."""
    root = (beta_min**2 + 2 * (beta_max - beta_min) * integral).sqrt()
    return 2 * integral / (beta_min + root)


def check_range(name: str, sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min < sigma_max < math.inf:
        raise InvalidOptionError(
            name,
            f"sigma_min={sigma_min}, sigma_max={sigma_max}",
            "choose 0 < sigma_min < sigma_max",
        )
