"""The variance of x₀ given x_t, from the denoiser's own Jacobian.

Tweedie's second formula, Cov[x₀ | x_t] = (σ²/α) ∂x̂/∂x_t, gives the covariance as a map that one
backward pass applies. Its diagonal is what calibrated sampling needs, and is estimated with random
signs z (Hutchinson; Bekas, Kokiopoulou & Saad, 2007):

    diag C = E[z ⊙ C z],    z ∈ {−1, +1}ⁿ,

whose error has variance Σ_{j≠i} C_ij² / probes: none where elements are independent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Denoiser, Estimate
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams, derive
from sfumato.processes import Gaussian, Level, like

__all__ = ["WithVariance"]


@dataclass(frozen=True, eq=False)
class WithVariance(Denoiser):
    """A denoiser that also knows its spread; each probe costs one backward pass per call.

    Args:
        denoiser: Any differentiable denoiser.
        probes: Random signs per call, 1 or more.
        streams: One per item of the batch. If not given, all items of a call share signs that
            are fixed by the level, so an item's variance does not depend on its neighbours.
    """

    knows_covariance: ClassVar[bool] = True

    denoiser: Denoiser
    probes: int = 4
    streams: Streams | None = None

    def __post_init__(self) -> None:
        if self.probes < 1:
            raise InvalidOptionError("variance", f"probes={self.probes}", "use 1 or more")

    @property
    def reports_variance(self) -> bool:
        return True

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.denoiser.process

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        outside = torch.is_grad_enabled() and x_t.requires_grad
        with torch.enable_grad():
            x = x_t if outside else x_t.detach().requires_grad_()
            estimate = self.denoiser(x, t, condition)
        mean = estimate.mean
        scale = like(t.sigma**2 / t.alpha, x_t)

        def covariance(v: Tensor) -> Tensor:
            return scale * torch.autograd.grad(mean, x, v, retain_graph=True)[0]

        signs = (self.signs(x_t.detach(), t, probe) for probe in range(self.probes))
        variance = sum((z * covariance(z) for z in signs), torch.zeros_like(mean)).detach()
        return replace(
            estimate,
            mean=mean if outside else mean.detach(),
            variance=(variance / self.probes).clamp(min=0),
            covariance=covariance,
            sampler=None,
        )

    def signs(self, x: Tensor, t: Level, probe: int) -> Tensor:
        """−1 or +1 for each element."""
        if self.streams is not None:
            return torch.where(self.streams.uniform(x) < 0.5, -1.0, 1.0).to(x.dtype)
        level = f"{float(t.sigma.flatten()[0] / t.alpha.flatten()[0]):.6e}"
        shared = Streams(derive(probe, level), [0])
        return torch.where(shared.uniform(x[:1]) < 0.5, -1.0, 1.0).to(x.dtype).expand_as(x)
