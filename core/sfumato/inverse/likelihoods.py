"""How a noiseless measurement z = A x becomes what was recorded: p(y | z).

All speak the units of y. ``variance`` is what moment-matching solvers use; ``None`` says that the
noise is not Gaussian and they cannot. ``residual`` is (y − z) in standard deviations: its mean
square, χ², is 1 for a reconstruction that is as far from the measurement as the noise is.
``normal`` is the Gaussian nearest to p(y | z) as a function of z: what steps that adapt to the
curvature of the likelihood start from.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams

__all__ = ["Affine", "Gaussian", "Laplace", "Likelihood", "Poisson", "Quantised"]

FAINTEST = 1e-3  # expected counts


class Likelihood(ABC):
    """p(y | z) for a noiseless measurement z."""

    @abstractmethod
    def log_density(self, y: Tensor, z: Tensor) -> Tensor:
        """ln p(y | z) of each element, up to a constant that does not depend on z.

        Elements of y are independent given z: each is told by the element of z in its place.
        """

    def log_prob(
        self, y: Inexact[Tensor, "batch *y"], z: Inexact[Tensor, "batch *y"]
    ) -> Float[Tensor, " batch"]:
        """ln p(y | z) of each item, in float64."""
        return self.log_density(y, z).flatten(1).sum(dim=1, dtype=torch.float64)

    @abstractmethod
    def sample(self, z: Float[Tensor, "batch *y"], streams: Streams) -> Float[Tensor, "batch *y"]:
        """A draw of y."""

    @abstractmethod
    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        """(y − z) in standard deviations of the noise; plain y − z if there is no noise."""

    @property
    def variance(self) -> Tensor | None:
        """Variance of y given z (scalar or per element), if the noise is Gaussian."""
        return None

    def normal(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each element of z given y alone, both of the shape of y.

        An infinite variance says that y tells nothing. Unless a class knows better, the mean is y
        and the standard deviation follows from ``residual``, which is (y − z) in units of it.
        """
        with torch.enable_grad():
            z = y.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.residual(y, z).sum(), z)
        return y, 1 / slope.abs() ** 2

    def rescaled(self, scale: float) -> Likelihood:
        """The likelihood of y/scale given z/scale."""
        return Affine(self, scale)


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """y = z + σ n.

    Args:
        sigma: Standard deviation in the units of y: a number ≥ 0, or a tensor that broadcasts to
            y without its batch axis. 0 means that y is exact. Complex noise has this standard
            deviation in total.
    """

    sigma: float | Tensor = 0.0

    def __post_init__(self) -> None:
        sigma = torch.as_tensor(self.sigma, dtype=torch.float64)
        if not bool(torch.isfinite(sigma).all() and (sigma >= 0).all()):
            raise InvalidOptionError(
                "noise", f"sigma={self.sigma}", "use finite numbers, 0 or more"
            )

    @property
    def variance(self) -> Tensor:
        if isinstance(self.sigma, Tensor):
            return self.sigma**2
        return torch.tensor(self.sigma**2, dtype=torch.float64)

    def normal(self, y: Tensor) -> tuple[Tensor, Tensor]:
        variance = self.variance.to(y.device, y.real.dtype if y.is_complex() else y.dtype)
        return y, variance.expand(y.shape)

    def log_density(self, y: Tensor, z: Tensor) -> Tensor:
        residual = self.residual(y, z)
        if residual.is_complex():
            return -(residual.conj() * residual).real
        return -(residual**2) / 2

    def sample(self, z: Tensor, streams: Streams) -> Tensor:
        sigma = self.sigma.to(z.device) if isinstance(self.sigma, Tensor) else self.sigma
        return z + sigma * streams.normal(z)

    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        if isinstance(self.sigma, Tensor):
            sigma = self.sigma.to(y.device)
            return (y - z) / torch.where(sigma > 0, sigma, 1.0)
        return (y - z) / (self.sigma or 1.0)

    def rescaled(self, scale: float) -> Gaussian:
        return Gaussian(self.sigma / scale)


@dataclass(frozen=True)
class Poisson(Likelihood):
    """y = counts / gain, counts ~ Poisson(gain · z), z ≥ 0.

    Args:
        gain: Counts per unit of z, > 0.
        background: Counts that arrive whatever z is, ≥ 0; keeps ln p finite at z = 0.
    """

    gain: float
    background: float = 0.0

    def __post_init__(self) -> None:
        if not (self.gain > 0 and self.background >= 0 and math.isfinite(self.gain)):
            raise InvalidOptionError(
                "Poisson noise", f"gain={self.gain}, background={self.background}",
                "use gain > 0 and background >= 0",
            )  # fmt: skip

    def rate(self, z: Tensor) -> Tensor:
        """Expected counts. The floor keeps the logarithm's slope finite; it is 10⁻³ counts."""
        return (self.gain * z + self.background).clamp(min=FAINTEST)

    def log_density(self, y: Tensor, z: Tensor) -> Tensor:
        rate = self.rate(z)
        counts = self.gain * y + self.background
        # no rate is below 0: under the floor ln p falls the steeper the more counts arrived;
        # so that what follows its gradient comes back
        below = ((self.gain * z + self.background) / FAINTEST - 1).clamp(max=0)
        return counts * rate.log() + (counts + 1) * below - rate

    def normal(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of the rate given k counts, Γ(k + 1): mean and variance are k + 1."""
        counts = (self.gain * y + self.background).clamp(min=0) + 1
        return (counts - self.background) / self.gain, counts / self.gain**2

    def sample(self, z: Tensor, streams: Streams) -> Tensor:
        rate = self.rate(z)
        rows = [
            torch.poisson(row.cpu(), generator=generator)
            for row, generator in zip(rate, streams.generators, strict=True)
        ]
        return (torch.stack(rows).to(z) - self.background) / self.gain

    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        rate = self.rate(z)
        return (self.gain * y + self.background - rate) / rate.clamp(min=1.0).sqrt()


@dataclass(frozen=True)
class Laplace(Likelihood):
    """y = z + noise with density exp(−|n|/b)/(2b): rare large errors.

    Args:
        scale: b > 0 in the units of y; the standard deviation is √2 b.
    """

    scale: float

    def __post_init__(self) -> None:
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise InvalidOptionError("Laplace noise", f"scale={self.scale}", "use a number above 0")

    def log_density(self, y: Tensor, z: Tensor) -> Tensor:
        return -(y - z).abs() / self.scale

    def sample(self, z: Tensor, streams: Streams) -> Tensor:
        u = streams.uniform(z) - 0.5
        return z - self.scale * u.sign() * torch.log1p(-2 * u.abs().clamp(max=0.5 - 1e-7))

    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        return (y - z) / (math.sqrt(2) * self.scale)

    def rescaled(self, scale: float) -> Laplace:
        return Laplace(self.scale / scale)


@dataclass(frozen=True)
class Quantised(Likelihood):
    """y = step · round((z + σ n)/step): rounding to a grid, after noise.

    ln p(y | z) = ln[Φ((y + step/2 − z)/σ) − Φ((y − step/2 − z)/σ)].

    Args:
        step: Distance of neighbouring values, > 0; a number or a tensor that broadcasts to y.
        sigma: Noise before rounding, > 0. A small share of ``step`` says "anywhere inside".
        clip: Values at which y saturates; beyond them the interval is unbounded.
    """

    step: float | Tensor
    sigma: float | Tensor
    clip: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("step", "sigma"):
            value = torch.as_tensor(getattr(self, name))
            if not bool((value > 0).all() and torch.isfinite(value).all()):
                raise InvalidOptionError(
                    "quantisation", f"{name}={getattr(self, name)}", "use numbers above 0"
                )

    def bounds(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Smallest and largest z (before noise) that is recorded as y."""
        half = self.step / 2
        half = half.to(y) if isinstance(half, Tensor) else half
        low, high = y - half, y + half
        if self.clip is not None:
            low = torch.where(y <= self.clip[0], -math.inf, low)
            high = torch.where(y >= self.clip[1], math.inf, high)
        return low, high

    def log_density(self, y: Tensor, z: Tensor) -> Tensor:
        low, high = self.bounds(y)
        sigma = self.sigma.to(z) if isinstance(self.sigma, Tensor) else self.sigma
        # work on the side where both tails are small; ln Φ(b) − ln Φ(a) stays exact there
        a, b = (low - z) / sigma, (high - z) / sigma
        flip = a + b > 0
        a, b = torch.where(flip, -b, a), torch.where(flip, -a, b)
        log_b, log_a = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
        difference = (log_a - log_b).clamp(max=-1e-7)
        value: Tensor = log_b + torch.log(-torch.expm1(difference))
        return value

    def sample(self, z: Tensor, streams: Streams) -> Tensor:
        step = self.step.to(z) if isinstance(self.step, Tensor) else self.step
        sigma = self.sigma.to(z) if isinstance(self.sigma, Tensor) else self.sigma
        y = step * torch.round((z + sigma * streams.normal(z)) / step)
        return y if self.clip is None else y.clamp(*self.clip)

    def normal(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Of a uniform distribution over the interval, and of the noise before rounding."""
        low, high = self.bounds(y)
        sigma = self.sigma.to(y) if isinstance(self.sigma, Tensor) else self.sigma
        variance = (high - low) ** 2 / 12 + sigma**2
        return torch.where(torch.isfinite(variance), (low + high) / 2, y), variance

    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        """Distance from the interval, in σ; 0 inside."""
        low, high = self.bounds(y)
        sigma = self.sigma.to(z) if isinstance(self.sigma, Tensor) else self.sigma
        return ((low - z).clamp(min=0) - (z - high).clamp(min=0)) / sigma


@dataclass(frozen=True)
class Affine(Likelihood):
    """A likelihood in other units: y·scale given z·scale + offset follows ``inner``.

    ``y`` stays in inner units if ``keep_y``; that is how a measurement in counts meets a state in
    model units.
    """

    inner: Likelihood
    scale: float
    offset: Tensor | float = 0.0
    keep_y: bool = False

    def outer(self, y: Tensor) -> Tensor:
        return y if self.keep_y else y * self.scale + self.offset

    def log_density(self, y: Tensor, z: Tensor) -> Tensor:
        return self.inner.log_density(self.outer(y), z * self.scale + self.offset)

    def normal(self, y: Tensor) -> tuple[Tensor, Tensor]:
        mean, variance = self.inner.normal(self.outer(y))
        return (mean - self.offset) / self.scale, variance / self.scale**2

    def sample(self, z: Tensor, streams: Streams) -> Tensor:
        y = self.inner.sample(z * self.scale + self.offset, streams)
        return y if self.keep_y else (y - self.offset) / self.scale

    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        return self.inner.residual(self.outer(y), z * self.scale + self.offset)
