"""Whole numbers and densities: what bits per dimension mean for data in steps of a width w.

A picture of 256 grey levels is a whole number of steps w = 1/256 in each element, and has a
probability P(x). A density p has none; but with uniform noise u in [0, w)ⁿ (Uria, Murray &
Larochelle, 2013; Theis, van den Oord & Bethge, 2016)

    −ln P(x) ≤ E_u[−ln p(x + u)] − n ln w,    P(x) = ∫_{[0,w)ⁿ} p(x + u) du

by Jensen's inequality, so that dequantised data give a bound on the bits of the whole numbers.
Noise with a density q(u | x) costs ln q more and can lose less by the inequality; it is learned
(``sfumato.networks.dequantisers``). The other way, a decoder over the values themselves,
is in ``sfumato.likelihood.decoders``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams

__all__ = ["Noise", "dequantise", "dequantised"]


Noise = Callable[[Tensor, Streams], tuple[Tensor, Tensor]]
"""x ↦ u in [0, 1), shaped as x, and ln q(u | x) of each item: the share of a step to add."""


def flat(x: Tensor, streams: Streams) -> tuple[Tensor, Float[Tensor, " batch"]]:
    """Uniform shares, of which ln q is 0."""
    return streams.uniform(x), x.new_zeros(len(x))


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
    return dequantised(x, width, streams)[0]


def dequantised(
    x: Float[Tensor, "batch *x"], width: float, streams: Streams, noise: Noise = flat
) -> tuple[Float[Tensor, "batch *x"], Float[Tensor, " batch"]]:
    """x + width · u, and the nats ln q(u | x) to add to those of a density there.

    Args:
        x: Data in steps of ``width`` from any origin.
        width: In the units of ``x``.
        streams: One per item.
        noise: Says u and ln q, such as a trained ``Dequantiser``; uniform if not given.

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
    with torch.no_grad():
        share, nats = noise(x, streams)
    return x + width * share, nats
