"""Hiding an exact number of places.

With exactly k of L places hidden, drawn alike, the bound of an absorbing process becomes a mean
over k = 1, …, L of L/k times a cross entropy: the time is gone, and with it the variance of how
many places a time hides.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sfumato import draws
from sfumato.noise import Streams
from sfumato.processes import Categorical, TokenLevel

__all__ = ["hide", "level_of", "ranks", "sizes"]


def sizes(valid: Bool[Tensor, "batch *x"]) -> Int[Tensor, " batch"]:
    """L of each item: how many places exist."""
    return valid.flatten(1).sum(dim=1)


def ranks(valid: Bool[Tensor, "batch *x"], streams: Streams) -> Int[Tensor, "batch *x"]:
    """A random order of the places of each item, 0 the first; places that do not exist are last."""
    u = draws.uniform(valid, streams).masked_fill(~valid, 2.0).flatten(1)
    return u.argsort(dim=1).argsort(dim=1).reshape(valid.shape)


def hide(
    x_0: Int[Tensor, "batch *x"],
    k: Int[Tensor, " batch"],
    valid: Bool[Tensor, "batch *x"],
    mask: int,
    streams: Streams,
) -> tuple[Int[Tensor, "batch *x"], Bool[Tensor, "batch *x"]]:
    """Replaces exactly k existing places of each item by MASK.

    Returns:
        The state, and which places are hidden.
    """
    many = k.reshape(-1, *(1,) * (x_0.ndim - 1))
    hidden = valid & (ranks(valid, streams) < many)
    return torch.where(hidden, mask, x_0), hidden


def level_of(
    process: Categorical, k: Int[Tensor, " batch"], places: Int[Tensor, " batch"]
) -> TokenLevel:
    """The level whose share of dead tokens is k/L, for denoisers that look at it."""
    alive = 1 - k.cpu().double() / places.cpu().clamp(min=1)
    return process.level(process.survival.time_of(alive))
