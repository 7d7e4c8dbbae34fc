"""Whole numbers and densities: what bits per dimension mean for data in steps of a width w.

A picture of 256 grey levels is a whole number of steps w = 1/256 in each element, and has a
probability P(x). A density p has none; but with uniform noise u in [0, w)ⁿ (Uria, Murray &
Larochelle, 2013; Theis, van den Oord & Bethge, 2016)

    −ln P(x) ≤ E_u[−ln p(x + u)] − n ln w,    P(x) = ∫_{[0,w)ⁿ} p(x + u) du

by Jensen's inequality, so that dequantised data give a bound on the bits of the whole numbers. The
other way, a decoder over the values themselves, is in ``sfumato.likelihood.decoders``.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams

__all__ = ["dequantise"]


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
