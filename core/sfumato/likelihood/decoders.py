"""The last step of a bound: from a state with little noise to data.

Belief   N(x̂, C): what the denoiser says, with the variance that it has; for densities
Values   a distribution over evenly spaced values, element by element, for whole numbers that
         are scored without dequantisation (Kingma et al., 2021, § 3.2):

             P(x₀ = v | x_ε) ∝ exp(−(x_ε/α − v)²/(2σ²/α²))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import Denoiser
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.processes import Level, Number, like

__all__ = ["Belief", "Values"]


@dataclass(frozen=True, eq=False)
class Belief:
    """A Gaussian around the denoiser's estimate.

    Args:
        denoiser: With its condition, if it needs one.
        spread: C(t); what the denoiser says if not given.
    """

    denoiser: Denoiser
    spread: Callable[[Level], Number] | None = None

    def __call__(self, x_0: Tensor, x_t: Tensor, t: Level) -> Float[Tensor, " batch"]:
        """−ln p(x₀ | x_t) of each item, float64.

        Raises:
            UnsupportedError: If no variance is known.
        """
        estimate = self.denoiser(x_t, t)
        known = estimate.variance if self.spread is None else self.spread(t)
        if known is None:
            raise UnsupportedError(
                "the decoder", "a denoiser that knows its spread", "this one returns a mean only",
                ["spread=…", "WithVariance(denoiser)"],
            )  # fmt: skip
        C = like(torch.as_tensor(known, dtype=torch.float64), x_0.double()).clamp(min=1e-30)
        square = (x_0.double() - estimate.mean.double()).square()
        nats: Tensor = ((math.tau * C).log() + square / C) / 2
        return nats.flatten(1).sum(dim=1)


@dataclass(frozen=True)
class Values:
    """A decoder over evenly spaced values; bounds with it are of probabilities, not densities.

    Args:
        low: The smallest value, in model units.
        width: The step between values, above 0.
        count: How many there are.

    Raises:
        InvalidOptionError: If there are not at least two values.
    """

    low: float
    width: float
    count: int = 256

    def __post_init__(self) -> None:
        if not (self.width > 0 and self.count > 1):
            raise InvalidOptionError(
                "decoder", f"width={self.width}, count={self.count}",
                "use a width above 0 and 2 or more values",
            )  # fmt: skip

    def __call__(self, x_0: Tensor, x_t: Tensor, t: Level) -> Float[Tensor, " batch"]:
        """−ln P(x₀ | x_t) of each item, float64.

        Raises:
            InvalidOptionError: If ``x_0`` is none of the values.
        """
        place = (x_0.double() - self.low) / self.width
        index = place.round().long()
        off = float((place - index).abs().max())
        if off > 1e-2 or int(index.min()) < 0 or int(index.max()) >= self.count:
            raise InvalidOptionError(
                "decoder", "data that are none of its values", "give low and width in model units"
            )
        values = torch.arange(self.count, dtype=torch.float64, device=x_0.device)
        y = (x_t.double() / like(t.alpha, x_t.double()) - self.low) / self.width
        gap = (y[..., None] - values).square() / (2 * (float(t.ratio) / self.width) ** 2)
        log_probs = (-gap).log_softmax(dim=-1).gather(-1, index[..., None])
        return -log_probs.flatten(1).sum(dim=1)
