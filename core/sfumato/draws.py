"""Draws from categorical distributions, one random stream per item.

Uniform numbers have 53 bits. In float32 they lie on a grid of 2⁻²⁴, and a race of tokens over that
grid loses those whose chance is below it: at 1,000 steps all tokens below 6·10⁻⁵.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.noise import Streams

__all__ = ["categorical", "choose", "invert", "invert_logs", "uniform"]


def uniform(like: Tensor, streams: Streams) -> Float[Tensor, "batch *x"]:
    """Uniform in [0, 1), float64, shaped as ``like``."""
    blank = torch.empty(like.shape, dtype=torch.float64, device=like.device)
    return streams.draw(blank, torch.float64, lambda row, g: row.uniform_(generator=g))


def choose(weights: Float[Tensor, "batch *x tokens"], streams: Streams) -> Int[Tensor, "batch *x"]:
    """A draw for every place, by inversion of the distribution function.

    Args:
        weights: Not negative; need not sum to 1. Where all are 0 the last token is returned.
        streams: One stream per item.
    """
    return invert(weights, uniform(weights[..., 0], streams))


def invert(
    weights: Float[Tensor, "*places tokens"], u: Float[Tensor, "*places"]
) -> Int[Tensor, "*places"]:
    """The token at which the distribution function passes ``u``, which is in [0, 1)."""
    ends = weights.double().cumsum(dim=-1)
    place = (u * ends[..., -1]).unsqueeze(-1)
    found = torch.searchsorted(ends.contiguous(), place.contiguous(), right=True).squeeze(-1)
    return found.clamp(max=weights.shape[-1] - 1)


def invert_logs(
    log_weights: Float[Tensor, "*places tokens"], u: Float[Tensor, "*places"]
) -> Int[Tensor, "*places"]:
    """``invert`` of logarithms, however small the weights; any token where all are −∞."""
    exact = log_weights.double()
    top = exact.amax(dim=-1, keepdim=True).clamp(min=-1e300)
    return invert((exact - top).exp(), u)


def categorical(
    log_probs: Float[Tensor, "batch *x tokens"], streams: Streams
) -> Int[Tensor, "batch *x"]:
    """A draw for every place from ln p; need not be normalised."""
    return invert_logs(log_probs, uniform(log_probs[..., 0], streams))
