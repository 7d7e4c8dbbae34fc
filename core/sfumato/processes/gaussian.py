"""Gaussian processes: x_t = α(t) x₀ + σ(t) ε, for any schedule.

A ``Level`` is a point of a grid with its coefficients. They are 0-dimensional float64 tensors on
the CPU where all elements are treated alike (torch lets such scalars meet any device and does not
let them change the dtype), one number per item, or arrays with as many axes as the state where
elements differ (an *uneven* level).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, NamedTuple, overload

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.noise import Streams
from sfumato.processes.schedules import EDM, Schedule

__all__ = ["Gaussian", "Level", "Number", "Scales", "combine", "like"]

Number = float | Tensor


class Scales(NamedTuple):
    """α and σ."""

    alpha: Number
    sigma: Number


@dataclass(frozen=True)
class Level:
    """Time t with its signal scale α and noise scale σ.

    In an uneven level α and σ have the axes of the state (each full or of length 1), and ``t`` is
    the time of the noisiest element, or a later one.
    """

    t: Tensor
    alpha: Tensor
    sigma: Tensor
    process: Gaussian | None = field(default=None, repr=False, compare=False)
    """Whose level it is; lets a sampler visit levels between those of its grid."""

    @cached_property
    def scales(self) -> Scales:
        """α and σ, as plain numbers where all elements are treated alike.

        Arithmetic with these costs a small part of what it costs with tensors, which shows where a
        step has little else to do. At α = 0 they stay tensors: what divides by it becomes infinite.
        """
        if self.alpha.ndim == self.sigma.ndim == 0 and (alpha := self.alpha.item()) > 0:
            return Scales(alpha, self.sigma.item())
        return Scales(self.alpha, self.sigma)

    @cached_property
    def ratio(self) -> Tensor:
        """σ/α: the noise level in units of the data."""
        return self.sigma / self.alpha

    @cached_property
    def log_ratio(self) -> Tensor:
        """ln σ/α, which is −½ log-SNR."""
        return self.sigma.log() - self.alpha.log()

    @property
    def uneven(self) -> bool:
        """Whether elements of one item may be at different levels."""
        return self.sigma.ndim > 1

    @cached_property
    def clean(self) -> bool:
        """Whether this is data (t = 0)."""
        return bool((self.sigma == 0).all())


@dataclass(frozen=True)
class Gaussian:
    """The process x_t = α(t) x₀ + σ(t) ε with ε standard normal.

    Args:
        schedule: α and σ.
    """

    schedule: Schedule = field(default_factory=EDM)
    normal: ClassVar[bool] = True
    """Whether ε is normal and comes in independent steps."""
    stepwise: ClassVar[bool] = True
    """Whether noise comes in independent steps, so that a sampler may add some of its own."""
    flat: ClassVar[bool] = True
    """Whether states are signals in flat space: may be padded, tiled, and measured by operators."""

    def level(self, t: Tensor | float) -> Level:
        """The level at time ``t`` (0-dimensional, or one time per item)."""
        time = torch.as_tensor(t, dtype=torch.float64)
        return Level(time, self.schedule.alpha(time), self.schedule.sigma(time), self)

    def levels(self, grid: Tensor) -> list[Level]:
        """One level per time of a grid."""
        alphas, sigmas = self.schedule.alpha(grid), self.schedule.sigma(grid)
        return [Level(*row, self) for row in zip(grid.double(), alphas, sigmas, strict=True)]

    def at_ratio(self, ratio: Tensor | float) -> Level:
        """The level whose noise-to-signal ratio σ/α is ``ratio``; clamped to the schedule."""
        log_ratio = torch.as_tensor(ratio, dtype=torch.float64).log()
        return self.level(self.schedule.time_of(log_ratio))

    def corrupt(
        self, x_0: Float[Tensor, "batch *x"], level: Level, noise: Float[Tensor, "batch *x"]
    ) -> Float[Tensor, "batch *x"]:
        """α x₀ + σ ε."""
        return like(level.alpha, x_0) * x_0 + like(level.sigma, x_0) * noise

    def renoise(
        self,
        x_s: Float[Tensor, "batch *x"],
        s: Level,
        t: Level,
        noise: Float[Tensor, "batch *x"],
    ) -> Float[Tensor, "batch *x"]:
        """Goes from s up to the noisier t: q(x_t | x_s)."""
        factor = like(t.alpha, x_s) / like(s.alpha, x_s)
        variance = like(t.sigma, x_s) ** 2 - factor**2 * like(s.sigma, x_s) ** 2
        return factor * x_s + variance.clamp(min=0).sqrt() * noise

    def start(self, like_x: Tensor, level: Level, streams: Streams) -> Tensor:
        """Pure noise at ``level``: what sampling starts from.

        The data's share α x₀ is left out: it is below the noise by construction.
        """
        return like(level.sigma, like_x) * self.noise(like_x, streams)

    def noise(self, like_x: Tensor, streams: Streams) -> Tensor:
        """ε, shaped as ``like_x``: standard normal here, and what other processes put in place."""
        return streams.normal(like_x)

    def log_noise(self, square: Tensor, sigma: Tensor, n: int) -> Tensor:
        """ln of the density of σε at a squared distance from its centre, in n dimensions."""
        power = (sigma**2).clamp(min=1e-30)
        return -square / (2 * power) - n / 2 * (math.tau * power).log()

    def analyse(self, x: Float[Tensor, "batch *x"]) -> Float[Tensor, "batch *x"]:
        """Signals to states: the same, but where states are coefficients of a basis."""
        return x

    def synthesise(self, x: Float[Tensor, "batch *x"]) -> Float[Tensor, "batch *x"]:
        """States to signals."""
        return x


@overload
def like(value: Tensor, x: Tensor) -> Tensor: ...
@overload
def like(value: Number, x: Tensor) -> Number: ...
def like(value: Number, x: Tensor) -> Number:
    """Shapes coefficients for ``x``: scalars stay, one per item gets trailing axes."""
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    real = x.real.dtype if x.is_complex() else x.dtype
    value = value.to(device=x.device, dtype=real)
    return value.reshape(value.shape + (1,) * (x.ndim - value.ndim))


def combine(a: Number, x: Tensor, b: Number, y: Tensor) -> Tensor:
    """a x + b y in the shape of ``x``, for coefficients as ``like`` takes them.

    Reads and writes memory less often than the formula would, and makes one new tensor.
    """
    result = like(a, x) * x
    if isinstance(b, Tensor) and b.ndim > 0:
        return result.add_(like(b, x) * y)
    return result.add_(y, alpha=float(b))
