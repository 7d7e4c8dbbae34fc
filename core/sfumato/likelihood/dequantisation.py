"""Whole numbers and densities: what bits per dimension mean for data in steps of a width w.

A picture of 256 grey levels is a whole number of steps w = 1/256 in each element, and has a
probability P(x). A density p has none; but with uniform noise u in [0, w)ⁿ (Uria, Murray &
Larochelle, 2013; Theis, van den Oord & Bethge, 2016)

    −ln P(x) ≤ E_u[−ln p(x + u)] − n ln w,    P(x) = ∫_{[0,w)ⁿ} p(x + u) du

by Jensen's inequality, so that dequantised data give a bound on the bits of the whole numbers. A
decoder over the values themselves needs no noise (Kingma et al., 2021, § 3.2):

    P(x₀ = v | x_ε) ∝ exp(−(x_ε/α − v)²/(2σ²/α²)),    v over all values, element by element.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import Level, like

__all__ = ["Values", "dequantise"]


def dequantise(
    x: Float[Tensor, "batch *x"], width: float, streams: Streams
) -> Float[Tensor, "batch *x"]:
    """x + u with u uniform in [0, width).

    Args:
        x: Data in steps of ``width`` from any origin.
        width: In the units of ``x``, such as 1/256 for grey levels k/256.
        streams: One per item.

    Raises:
        InvalidOptionError: If ``width`` is not above 0, or ``x`` is not in such steps.
    """
    if not width > 0:
        raise InvalidOptionError("dequantise", f"width={width}", "use a number above 0")
    steps = (x - x.flatten()[0]).double() / width
    if x.numel() and float((steps - steps.round()).abs().max()) > 1e-2:
        raise InvalidOptionError(
            "dequantise", f"data that are not in steps of {width:g}",
            "give the width of the data's own steps, in the same units",
        )  # fmt: skip
    return x + width * streams.uniform(x)


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
