"""Variances from a second network: SN-DPM and NPR-DPM (Bao et al., 2022b).

Beside a denoiser that stays as it is, a head h(x_t, t) is trained on squares by plain regression:

    sn    E[ε² | x_t]:           C = (σ²/α²)(h − ε̂²)
    npr   E[(ε − ε̂)² | x_t]:     C = (σ²/α²) h

element by element. They agree where ε̂ = E[ε | x_t]. Where it is biased by b, NPR's C is larger by
(σ²/α²) b², which is the best variance around the wrong mean; SN's is not.

At high noise the squares of NPR are small, since C stays below the variance v of the data: they are
of the order of v/(v + σ²/α²). Where v is given, a head predicts in units of this, and its loss
counts in them; otherwise small errors of it there are large ones of C. SN's squares are of order 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Denoiser, Estimate
from sfumato.errors import InvalidOptionError
from sfumato.processes import Gaussian, Level, combine, like

__all__ = ["SquareHead", "square_loss"]

KINDS = ("sn", "npr")


@dataclass(frozen=True, eq=False)
class SquareHead(Denoiser):
    """A denoiser that learns its spread from a head.

    Args:
        denoiser: Whose mean is used.
        head: ``(x, noise_label, **condition) -> Tensor`` of x's shape: the squares above in the
            unit above. It is given x_t scaled to √(α² + σ²) = 1 and ¼ ln σ/α of each item.
        kind: ``"sn"`` or ``"npr"``.
        bound: v, the variance of the data: C is clipped to it, and it sets NPR's unit.
    """

    denoiser: Denoiser
    head: Callable[..., Tensor]
    kind: str = "npr"
    bound: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidOptionError("variance head", f"kind={self.kind!r}", "use 'sn' or 'npr'")

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.denoiser.process

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        estimate = self.denoiser(x_t, t, condition)
        squares = self.squares(x_t, t, condition)
        if self.kind == "sn":
            squares = squares - noise_of(estimate.mean, x_t, t).square()
        variance = like(t.ratio**2, x_t) * squares.clamp(min=0)
        if self.bound is not None:
            variance = variance.clamp(max=self.bound)
        return replace(estimate, variance=variance, covariance=None, sampler=None)

    def squares(self, x_t: Tensor, t: Level, condition: Condition = None) -> Tensor:
        """h(x_t, t)."""
        size = (t.alpha**2 + t.sigma**2).sqrt()
        label = (t.log_ratio / 4).to(x_t).expand(len(x_t))
        found = self.head(x_t / like(size, x_t), label, **(condition or {}))
        return like(self.unit(t), x_t) * found

    def unit(self, t: Level) -> Tensor:
        """What the squares are of the order of, float64."""
        if self.kind == "sn" or self.bound is None:
            return torch.ones_like(t.ratio)
        return self.bound / (self.bound + t.ratio**2)


def square_loss(
    model: SquareHead,
    x_0: Float[Tensor, "batch *x"],
    *,
    level: Level,
    noise: Float[Tensor, "batch *x"],
    condition: Condition = None,
) -> Float[Tensor, " batch"]:
    """Squared error of the head, in its unit, for each item; the denoiser gets no gradient.

    Args:
        model: Denoiser and head.
        x_0: Data in model units.
        level: The level of each item.
        noise: Standard normal.
        condition: Passed to both.
    """
    x_t = model.process.corrupt(x_0, level, noise)
    target = noise
    if model.kind == "npr":
        with torch.no_grad():
            target = noise - noise_of(model.denoiser(x_t, level, condition).mean, x_t, level)
    gap = (model.squares(x_t, level, condition) - target.square()) / like(model.unit(level), x_t)
    return gap.square().flatten(1).mean(dim=1)


def noise_of(mean: Tensor, x_t: Tensor, t: Level) -> Tensor:
    """ε̂ = (x_t − α x̂)/σ."""
    alpha, sigma = t.scales
    return combine(1 / sigma, x_t, -alpha / sigma, mean)
