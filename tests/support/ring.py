"""A ring of five Gaussians in the plane: the survey's target with everything known."""

from __future__ import annotations

import functools
import math

import numpy
import torch
from torch import Tensor

from sfumato.denoisers import MixturePrior
from sfumato.processes import Gaussian, Level

__all__ = ["entropy", "posterior_variances", "ring"]

SPREAD = 0.15


def ring(process: Gaussian, *, spread: float = SPREAD) -> MixturePrior:
    """Means on the unit circle, standard deviation ``spread``."""
    angle = torch.arange(5, dtype=torch.float64) * math.tau / 5
    means = torch.stack([angle.cos(), angle.sin()], dim=1)
    return MixturePrior(process, torch.ones(5), means, torch.full_like(means, spread**2))


@functools.cache
def nodes() -> tuple[Tensor, Tensor]:
    """Gauss–Hermite quadrature of a standard normal in the plane: points and weights."""
    place, weight = (torch.from_numpy(a) for a in numpy.polynomial.hermite_e.hermegauss(48))
    share = torch.outer(weight, weight).flatten() / math.tau
    return torch.cartesian_prod(place, place), share


def states(prior: MixturePrior, t: Level) -> tuple[Tensor, Tensor]:
    """States and their weights; those around one mean do for all, by symmetry."""
    points, share = nodes()
    width = (t.alpha**2 * SPREAD**2 + t.sigma**2).sqrt()
    return t.alpha * prior.means[0] + width * points, share


def posterior_variances(prior: MixturePrior, t: Level) -> tuple[Tensor, Tensor]:
    """Var[x₀ | x_t] of each element, ``[states, 2]``, with the weights of the states."""
    x_t, share = states(prior, t)
    variance = prior(x_t, t).variance
    assert variance is not None
    return variance, share


def entropy(prior: MixturePrior) -> float:
    """−E ln p of the data, in nats."""
    clean = prior.process.level(0.0)
    x, share = states(prior, clean)
    return -float((share * prior.log_prob(x, clean)).sum())
