"""Denoisers on manifolds: exact for a finite data set, and networks that predict a score.

Given data x₁ … x_N on a manifold with heat kernel p_σ, the score at x_t is the mean of the kernels'
own scores with the weights of the posterior, and x̂ = x_t + σ² ∇ ln p(x_t) as in
``sfumato.processes.manifolds``. A network learns the same from one kernel at a time: denoising
score matching with the kernel's score as target (De Bortoli et al., 2022, § 3.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Denoiser, Estimate
from sfumato.denoisers.parametrisations import Preconditioned, Row
from sfumato.errors import InvalidOptionError
from sfumato.processes import Level, like
from sfumato.processes.manifolds import Riemannian

__all__ = ["PointsOnManifold", "Tangent"]


@dataclass(frozen=True, eq=False)
class PointsOnManifold(Denoiser):
    """A finite data set, every point equally likely.

    Args:
        process: Brownian motion on the manifold.
        points: ``[k, *x]``.
    """

    process: Riemannian
    points: Float[Tensor, "k *x"]

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        batch, many = len(x_t), len(self.points)
        x = x_t.double().repeat_interleave(many, dim=0)
        each = self.points.to(x).repeat(batch, *(1,) * (x.ndim - 1))
        sigma = t.sigma.expand(batch).repeat_interleave(many) if t.sigma.ndim else t.sigma
        logs, pulls = self.process.manifold.heat(x, each, sigma)
        share = logs.reshape(batch, many).softmax(dim=1)
        pull = torch.einsum("bk,bkn->bn", share, pulls.reshape(batch, many, -1))
        return Estimate((x_t.double() + pull.reshape(x_t.shape)).to(x_t.dtype))


@dataclass(frozen=True, eq=False)
class Tangent(Preconditioned):
    """A network that predicts the score, as a tangent vector. Arguments of ``Preconditioned``.

    Raises:
        InvalidOptionError: If the process is not on a manifold, or the prediction another.
    """

    prediction: str = "score"

    def __post_init__(self) -> None:
        super().__post_init__()
        on = isinstance(self.process, Riemannian)
        if not on or self.prediction != "score" or self.head or self.range is not None:
            raise InvalidOptionError(
                "denoiser", f"prediction={self.prediction!r} under {type(self.process).__name__}",
                "use prediction='score' without head or range, under Riemannian",
            )  # fmt: skip

    @property
    def on(self) -> Riemannian:
        assert isinstance(self.process, Riemannian)
        return self.process

    def evaluate(self, x_t: Tensor, t: Level, c: Row[Any], condition: Condition = None) -> Tensor:
        return self.on.manifold.tangent(x_t, super().evaluate(x_t, t, c, condition))

    def target(self, x_0: Tensor, x_t: Tensor, t: Level) -> Tensor:
        """∇ ln q(x_t | x₀)."""
        pull = self.on.manifold.heat(x_t.double(), x_0.double(), t.sigma)[1]
        return (pull / like(t.sigma**2, pull)).to(x_t.dtype)
