"""Exact sums and draws over the paths of a machine."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.factors.base import Machine

__all__ = ["weigh"]


def weigh(machine: Machine, x: Int[Tensor, "batch length"]) -> Float[Tensor, " batch"]:
    """ln φ(x) of whole sequences."""
    log_a = machine.initial.to(x.device).expand(len(x), -1)
    for place in range(x.shape[1]):
        log_a = machine.advance(place, log_a, x[:, place])
    return torch.logsumexp(log_a + machine.final.to(x.device), dim=1)
