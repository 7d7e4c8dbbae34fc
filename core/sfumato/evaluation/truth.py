"""Problems whose posterior is known: what every solver is measured against.

Each is a prior with an exact denoiser under any Gaussian process, an operator, one measurement,
and the exact posterior. A solver that is given the exact denoiser has no network to blame.
``problem`` makes as many copies as samples are wanted; ``score`` compares what a solver returns.

    LinearGaussian   correlated Gaussian; the posterior is a Gaussian
    Mixture          six modes of which the measurement excludes none: mode weights count
    HeavyTailed      a random walk with Student steps: the posterior of a gap is not Gaussian
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.denoisers import ChainPrior, GaussianPrior, MixturePrior
from sfumato.errors import InvalidOptionError
from sfumato.evaluation.known import Known, Truth
from sfumato.inverse.likelihoods import Gaussian as GaussianNoise
from sfumato.inverse.operators import Linear
from sfumato.inverse.standard import Mask, Matrix
from sfumato.processes import Gaussian

__all__ = ["PROBLEMS", "HeavyTailed", "Known", "LinearGaussian", "Mixture", "Truth"]


@dataclass(frozen=True)
class LinearGaussian(Known):
    """A stationary Gaussian chain, seen through a linear operator.

    Args:
        kind: ``"inpaint"`` (half of the elements), ``"average"`` (means of neighbouring pairs),
            ``"blur"`` (periodic, three elements wide) or ``"random"`` (a dense d/2 × d matrix).
        dimensions: d, even.
        sigma: Standard deviation of the noise.
        spread: Standard deviation of the prior.
        correlation: Of neighbouring elements.
        seed: Of what is measured.
    """

    kind: str = "inpaint"
    dimensions: int = 16
    sigma: float = 0.1
    spread: float = 0.3
    correlation: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in OPERATORS:
            raise InvalidOptionError(
                "LinearGaussian", f"kind={self.kind!r}", f"use one of {', '.join(OPERATORS)}"
            )
        if self.dimensions < 2 or self.dimensions % 2:
            raise InvalidOptionError(
                "LinearGaussian", f"dimensions={self.dimensions}", "use an even number"
            )

    def prior(self, process: Gaussian) -> GaussianPrior:
        place = torch.arange(self.dimensions, dtype=torch.float64)
        covariance = self.spread**2 * self.correlation ** (place[:, None] - place).abs()
        return GaussianPrior(process, torch.zeros_like(place), covariance)

    @property
    def operator(self) -> Linear:
        return OPERATORS[self.kind](self.dimensions, self.seed, GaussianNoise(self.sigma))

    @functools.cached_property
    def posterior(self) -> MixturePrior:
        return self.prior(Gaussian()).given(*self.matrix, self.sigma**2)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        return self.posterior.moments()

    def modes(self, samples: Tensor) -> float:
        return math.nan


@dataclass(frozen=True)
class Mixture(Known):
    """Six Gaussians of unequal weight, a quarter of the elements measured.

    What is measured says something about the mode but does not settle it.

    Args:
        dimensions: d, a multiple of 4.
        components: Modes.
        sigma: Standard deviation of the noise.
        seed: Of the mixture and of what is measured.
    """

    dimensions: int = 16
    components: int = 6
    sigma: float = 0.2
    seed: int = 0

    def prior(self, process: Gaussian) -> MixturePrior:
        generator = torch.Generator().manual_seed(self.seed)
        k, d = self.components, self.dimensions
        means = torch.randn(k, d, generator=generator, dtype=torch.float64)
        means = means * torch.where(self.mask, 0.1, 1.0)
        factors = torch.randn(k, d, d, generator=generator, dtype=torch.float64) / math.sqrt(d)
        covariances = 0.3**2 * (factors @ factors.mT + 0.2 * torch.eye(d, dtype=torch.float64))
        weights = torch.rand(k, generator=generator, dtype=torch.float64) + 0.3
        return MixturePrior(process, weights / weights.sum(), means, covariances)

    @property
    def mask(self) -> Tensor:
        """Every fourth element is measured."""
        return torch.arange(self.dimensions) % 4 == 0

    @property
    def operator(self) -> Linear:
        return Mask(self.mask, GaussianNoise(self.sigma))

    @functools.cached_property
    def posterior(self) -> MixturePrior:
        return self.prior(Gaussian()).given(*self.matrix, self.sigma**2)

    @property
    def moments(self) -> tuple[Tensor, Tensor]:
        return self.posterior.moments()


@dataclass(frozen=True)
class HeavyTailed(Known):
    """A random walk with Student steps, of which the middle was not measured.

    Args:
        length: d.
        gap: How many elements in the middle are not measured.
        sigma: Standard deviation of the noise.
    """

    length: int = 16
    gap: int = 6
    sigma: float = 0.05

    def prior(self, process: Gaussian) -> ChainPrior:
        return ChainPrior.heavy_tailed(process, self.length)

    @property
    def mask(self) -> Tensor:
        """Where the walk is measured."""
        place = torch.arange(self.length)
        first = (self.length - self.gap) // 2
        return (place < first) | (place >= first + self.gap)

    @property
    def operator(self) -> Linear:
        return Mask(self.mask, GaussianNoise(self.sigma))

    @functools.cached_property
    def posterior(self) -> ChainPrior:
        return self.prior(Gaussian()).given(self.mask, self.y, self.sigma**2)

    @functools.cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        return self.posterior.moments()


def inpaint(d: int, seed: int, noise: GaussianNoise) -> Linear:
    order = torch.randperm(d, generator=torch.Generator().manual_seed(seed))
    mask = torch.zeros(d, dtype=torch.bool)
    mask[order[: d // 2]] = True
    return Mask(mask, noise)


def average(d: int, seed: int, noise: GaussianNoise) -> Linear:
    matrix = torch.eye(d // 2, dtype=torch.float64).repeat_interleave(2, dim=1) / 2
    return Matrix(matrix, likelihood=noise)


def blur(d: int, seed: int, noise: GaussianNoise) -> Linear:
    eye = torch.eye(d, dtype=torch.float64)
    return Matrix((eye.roll(1, 1) + 2 * eye + eye.roll(-1, 1)) / 4, likelihood=noise)


def random(d: int, seed: int, noise: GaussianNoise) -> Linear:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(d // 2, d, generator=generator, dtype=torch.float64) / math.sqrt(d)
    return Matrix(matrix, likelihood=noise)


OPERATORS = {"inpaint": inpaint, "average": average, "blur": blur, "random": random}

PROBLEMS: dict[str, type[Known]] = {
    "linear-gaussian": LinearGaussian,
    "mixture": Mixture,
    "heavy-tailed": HeavyTailed,
}
