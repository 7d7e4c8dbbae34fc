"""The exact denoiser of a finite data set: a mixture of points.

If x₀ is one of x₁ … x_N, each equally likely, then given x_t = α x₀ + σ ε

    p(k | x_t) ∝ exp(−‖x_t − α xₖ‖²/(2σ²)),    E[x₀ | x_t] = Σₖ p(k | x_t) xₖ.

or, where the process has another noise, with its density. This is what a network trained without
end on these points would return: it can only repeat them.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Estimate
from sfumato.denoisers.exact import Exact
from sfumato.denoisers.uneven import choose
from sfumato.errors import ShapeError
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level, like

__all__ = ["DataSetPrior"]


@dataclass(frozen=True, eq=False)
class DataSetPrior(Exact):
    """A finite data set, every point equally likely.

    Args:
        process: The process that its states belong to.
        points: ``[k, *x]``.
    """

    process: Gaussian
    points: Float[Tensor, "k *x"]

    def __post_init__(self) -> None:
        if self.points.ndim < 2 or not len(self.points):
            raise ShapeError("points", self.points.shape, "one or more points, batch axis first")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.points.shape[1:])

    @functools.cached_property
    def table(self) -> Tensor:
        return self.points.flatten(1).double()

    def scores(self, x_t: Tensor, t: Level) -> Tensor:
        """ln p(x_t | xₖ), ``[batch, k]``."""
        x, table = self.rows(x_t), self.table.to(x_t.device)
        alpha, sigma = like(t.alpha, x), like(t.sigma, x)
        # ‖x_t‖² is the same for all k, but leaving it in keeps ln p right
        square = (x**2).sum(1, keepdim=True) - 2 * alpha * x @ table.T
        square = (square + alpha**2 * (table**2).sum(1)).clamp(min=0)
        return self.process.log_noise(square, torch.as_tensor(sigma), table.shape[1])

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        share = self.scores(x_t, t).softmax(dim=1)
        table = self.table.to(x_t.device)
        mean = share @ table
        variance = (share @ table**2 - mean**2).clamp(min=0)

        def covariance(v: Tensor) -> Tensor:
            along = self.rows(v) @ table.T - (mean * self.rows(v)).sum(1, keepdim=True)
            weighted = share * along
            spread = weighted @ table - weighted.sum(1, keepdim=True) * mean
            return spread.reshape(v.shape).to(v.dtype)

        def draw(streams: Streams) -> Tensor:
            return self.points.to(x_t)[choose(share, streams)]

        return Estimate(
            mean.reshape(x_t.shape).to(x_t.dtype),
            variance=variance.reshape(x_t.shape).to(x_t.dtype),
            covariance=covariance,
            sampler=draw,
        )

    def log_prob(self, x_t: Float[Tensor, "batch *x"], t: Level) -> Float[Tensor, " batch"]:
        return self.scores(x_t, t).logsumexp(dim=1) - math.log(len(self.points))

    def sample(self, streams: Streams) -> Float[Tensor, "batch *x"]:
        share = torch.ones(1, dtype=torch.float64, device=self.points.device) / len(self.points)
        return self.points[choose(share.expand(len(streams), len(self.points)), streams)]
