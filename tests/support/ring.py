"""A ring of five Gaussians in the plane: the survey's target with everything known."""

from __future__ import annotations

import math

import torch

from sfumato.denoisers import MixturePrior
from sfumato.processes import Gaussian

__all__ = ["ring"]


def ring(process: Gaussian, *, spread: float = 0.15) -> MixturePrior:
    """Means on the unit circle, standard deviation ``spread``."""
    angle = torch.arange(5, dtype=torch.float64) * math.tau / 5
    means = torch.stack([angle.cos(), angle.sin()], dim=1)
    return MixturePrior(process, torch.ones(5), means, torch.full_like(means, spread**2))
