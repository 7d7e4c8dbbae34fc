"""A problem whose posterior is known, and how far samples are from it."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import Exact, MixturePrior
from sfumato.evaluation.calibration import interval
from sfumato.evaluation.distances import gaussian_w2, moments, sliced_w2, total_variation
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Problem
from sfumato.noise import Streams
from sfumato.processes import Gaussian

__all__ = ["Known", "Truth"]


@dataclass(frozen=True)
class Truth:
    """How far samples are from the exact posterior.

    Args:
        mean_error: ‖m − m*‖/√tr C*; 0 is right, 1/√n is left by n exact draws.
        spread: √(tr C/tr C*); 1 is right, below 1 is overconfident.
        w2: W2 between Gaussians with the samples' and the exact moments, over √tr C*.
        coverage: Share of exact draws inside the samples' central 90 % intervals.
        modes: Total variation of the mode weights; NaN if there is one mode.
        sliced_w2: SW2 to exact draws, in units of the data.
        floor: SW2 of as many exact draws to others.
    """

    mean_error: float
    spread: float
    w2: float
    coverage: float
    modes: float
    sliced_w2: float
    floor: float

    def as_json(self) -> dict[str, float | None]:
        """JSON values: NaN becomes ``None``."""
        return {name: None if math.isnan(v) else v for name, v in asdict(self).items()}


class Known(ABC):
    """A problem with its exact posterior; subclasses are frozen dataclasses of its settings."""

    sigma: float

    @abstractmethod
    def prior(self, process: Gaussian) -> Exact:
        """The prior with its exact denoiser under ``process``."""

    @property
    @abstractmethod
    def operator(self) -> Linear:
        """A, with Gaussian noise."""

    @property
    @abstractmethod
    def posterior(self) -> Exact:
        """The exact posterior: its ``sample``, ``moments`` and its own exact denoiser."""

    @property
    @abstractmethod
    def moments(self) -> tuple[Tensor, Tensor]:
        """Exact posterior mean ``[d]`` and covariance ``[d, d]``."""

    @functools.cached_property
    def truth(self) -> Tensor:
        """The draw of the prior that was measured, ``[d]``."""
        return self.prior(Gaussian()).sample(Streams.count(1, 1).spawn("truth"))[0]

    @functools.cached_property
    def y(self) -> Tensor:
        """The measurement, ``[*y]``."""
        return self.operator.measure(self.truth[None], seed=2)[0]

    @property
    def matrix(self) -> tuple[Tensor, Tensor]:
        """A as a matrix, and y, without what is not measured."""
        eye = torch.eye(len(self.truth), dtype=torch.float64)
        matrix, y = self.operator(eye).T, self.y.double()
        support = self.operator.support
        kept = slice(None) if support is None else support.bool()
        return matrix[kept], y[kept]

    def problem(self, process: Gaussian, n: int, *, dtype: torch.dtype = torch.float32) -> Problem:
        """``n`` copies of the problem, for as many posterior samples."""
        return Problem(self.prior(process), self.operator, self.y.to(dtype).expand(n, -1))

    def draws(self, n: int, *, seed: int = 0) -> Float[Tensor, "n d"]:
        """Exact posterior samples."""
        return self.posterior.sample(Streams.count(seed, n).spawn("exact"))

    def modes(self, samples: Float[Tensor, "n d"]) -> float:
        """Total variation between the mode weights of samples and posterior."""
        posterior = self.posterior
        if not isinstance(posterior, MixturePrior):
            return math.nan
        found = posterior.responsibilities(samples).mean(dim=0)
        return float(total_variation(found, posterior.log_weights.exp()))

    def score(self, samples: Float[Tensor, "n d"]) -> Truth:
        """Compares posterior samples with the exact posterior."""
        x = samples.detach().double().cpu()
        mean, covariance = moments(x)
        exact_mean, exact_covariance = self.moments
        size = exact_covariance.trace().sqrt()
        n = len(x)
        exact, other = self.draws(max(n, 2000), seed=3).double(), self.draws(n, seed=4).double()
        low, high = interval(x)
        return Truth(
            mean_error=float((mean - exact_mean).norm() / size),
            spread=float(covariance.trace().sqrt() / size),
            w2=float(gaussian_w2(mean, covariance, exact_mean, exact_covariance) / size),
            coverage=float(((exact >= low) & (exact <= high)).double().mean()),
            modes=self.modes(x),
            sliced_w2=float(sliced_w2(x, exact)),
            floor=float(sliced_w2(other, exact)),
        )
