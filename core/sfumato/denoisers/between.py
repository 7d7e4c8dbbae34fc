"""The exact denoiser between two data sets, for mixtures of Gaussians.

If x_t = α x₀ + σ x₁ with x₀ ~ Σₖ wₖ N(mₖ, Vₖ) and, independently, x₁ ~ Σₗ w'ₗ N(nₗ, Wₗ) in place of
noise, then for each pair of components everything is Gaussian,

    p(x_t | k, l)      = N(α mₖ + σ nₗ, α²Vₖ + σ²Wₗ),
    E[x₀ | x_t, k, l]  = mₖ + αVₖ (α²Vₖ + σ²Wₗ)⁻¹ (x_t − α mₖ − σ nₗ).

Under the ``Flow`` process its ODE is the rectified flow from the second to the first, without a
network's error (Liu, Gong & Liu, 2023): what a trained one is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Denoiser, Estimate
from sfumato.denoisers.exact import TINY, Mixed
from sfumato.errors import ShapeError, UnsupportedError
from sfumato.processes import Gaussian, Level, like

__all__ = ["Between"]


@dataclass(frozen=True, eq=False)
class Between(Denoiser):
    """E[x₀ | x_t] where a mixture is mixed with another.

    Args:
        process: α and σ.
        data: x₀, with independent elements in every component.
        other: x₁, likewise.

    Raises:
        ShapeError: If the two differ in shape.
        UnsupportedError: If a component's elements depend on each other.
    """

    process: Gaussian
    data: Mixed
    other: Mixed

    def __post_init__(self) -> None:
        if self.data.shape != self.other.shape:
            raise ShapeError(
                "the other data", self.other.shape, "×".join(map(str, self.data.shape))
            )
        if self.data.eigen[1] is not None or self.other.eigen[1] is not None:
            raise UnsupportedError(
                "the exact flow between mixtures", "components with independent elements",
                "one has a full covariance", ["a trained network"],
            )  # fmt: skip

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        x = self.data.rows(x_t)[:, None, None]
        alpha, sigma = like(t.alpha, x), like(t.sigma, x)
        m, V = self.data.centres[:, None], self.data.powers[:, None].clamp(min=0)
        n, W = self.other.centres[None], self.other.powers[None].clamp(min=0)
        total = (alpha**2 * V + sigma**2 * W).clamp(min=TINY)
        offset = x - alpha * m - sigma * n
        pairs = self.data.log_weights[:, None] + self.other.log_weights
        scores = pairs - (offset**2 / total + total.log()).sum(dim=-1) / 2
        share = scores.flatten(1).softmax(dim=1)
        means = (m + alpha * V / total * offset).flatten(1, 2)
        mean = torch.einsum("bk,bkn->bn", share, means)
        return Estimate(mean.reshape(x_t.shape).to(x_t.dtype))
