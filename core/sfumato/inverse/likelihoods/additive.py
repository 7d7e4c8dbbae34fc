"""Noise that is added: Gaussian and Laplace."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.likelihoods.base import Likelihood
from sfumato.noise import Streams

__all__ = ["Gaussian", "Laplace"]


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
