"""What all likelihoods offer, and likelihoods in other units."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Inexact
from torch import Tensor

from sfumato.errors import UnsupportedError
from sfumato.noise import Streams

__all__ = ["Affine", "Likelihood"]


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

    @property
    def knows_moments(self) -> bool:
        """Whether ``moments`` is known in closed form."""
        return False

    def moments(self, y: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of each element of z ~ N(mean, variance) given y.

        Raises:
            UnsupportedError: If no closed form is known.
        """
        needs = "a likelihood whose moments are known"
        raise UnsupportedError("moment matching", needs, f"found {type(self).__name__}")

    def rescaled(self, scale: float) -> Likelihood:
        """The likelihood of y/scale given z/scale."""
        return Affine(self, scale)


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

    @property
    def knows_moments(self) -> bool:
        return self.inner.knows_moments

    def moments(self, y: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        outer = mean * self.scale + self.offset
        inside, left = self.inner.moments(self.outer(y), outer, variance * self.scale**2)
        return (inside - self.offset) / self.scale, left / self.scale**2

    def sample(self, z: Tensor, streams: Streams) -> Tensor:
        y = self.inner.sample(z * self.scale + self.offset, streams)
        return y if self.keep_y else (y - self.offset) / self.scale

    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        return self.inner.residual(self.outer(y), z * self.scale + self.offset)
