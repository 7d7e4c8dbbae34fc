"""Weights of particles: normalised, summed up as evidence, resampled where few count.

Resampling is systematic (one uniform number per item and N equally spaced places; Kitagawa, 1996)
and happens where the effective number 1/Σ w² of an item falls below a share of its particles.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.noise import Streams

__all__ = ["pick", "reweigh"]


def reweigh(
    log_w: Float[Tensor, "items particles"],
    evidence: Float[Tensor, " items"],
    fewest: Float[Tensor, " items"],
    threshold: float,
    streams: Streams | None,
) -> tuple[Tensor, Tensor, Tensor, Int[Tensor, " rows"]]:
    """Normalised weights, ln evidence, smallest effective number, and who goes on.

    Args:
        log_w: ln weights; what is not finite counts as weight 0.
        evidence: ln of the evidence so far.
        fewest: Smallest effective number so far.
        threshold: Share of effective particles below which an item resamples.
        streams: One stream per item; without them nobody is resampled.
    """
    items, count = log_w.shape
    log_w = torch.where(torch.isfinite(log_w), log_w, -torch.inf)
    mass = log_w.logsumexp(dim=1)
    # the weights that came in sum to 1, so the sum that leaves is the mean new weight
    start = torch.isfinite(mass)
    log_w = torch.where(start[:, None], log_w - mass[:, None], -math.log(count))
    share = log_w.exp()
    effective = 1 / (share**2).sum(dim=1)
    order = torch.arange(count, device=log_w.device).expand(items, count)
    if streams is not None:
        place = torch.arange(count, device=log_w.device) + streams.uniform(share[:, :1])
        ends = share.cumsum(dim=1)
        drawn = torch.searchsorted(ends / ends[:, -1:], place / count).clamp(max=count - 1)
        poor = (effective < threshold * count)[:, None]
        order = torch.where(poor, drawn, order)
        log_w = torch.where(poor, -math.log(count), log_w)
    flat = order + count * torch.arange(items, device=log_w.device)[:, None]
    return log_w, evidence + mass, torch.minimum(fewest, effective), flat.flatten()


def pick(log_w: Float[Tensor, "items particles"], streams: Streams) -> Int[Tensor, " items"]:
    """One particle of each item, drawn by its normalised weight."""
    share = log_w.exp()
    place = streams.uniform(share[:, :1])
    return (share.cumsum(dim=1) <= place).sum(dim=1).clamp(max=share.shape[1] - 1)
