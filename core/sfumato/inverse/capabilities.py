"""What an operator and a denoiser offer, as names that solvers state their needs in.

An operator:

    linear      has an adjoint
    gaussian    Gaussian noise (its variance may be 0)
    moments     other noise, whose moments given a Gaussian belief are known (rounding)
    noisy       noise of positive variance, or another likelihood with a finite gradient
    exact       Gaussian noise of variance 0 somewhere: y is to be met exactly there
    spectrum    a singular value decomposition in closed form
    identity    y is x with noise of one strength
    mask        linear, and its pseudo-inverse's projection A⁺A keeps or drops single elements
    places      a mask that treats all channels of a place alike, and so does its noise

A denoiser:

    variance    reports the variance of every element of x₀ given x_t
    covariance  knows Cov[x₀ | x_t] in closed form, without a backward pass
    uneven      takes a noise level for every element
    learned     is a network with weights
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sfumato.denoisers import Denoiser, Exact, Preconditioned
from sfumato.denoisers.base import layers
from sfumato.errors import UnsupportedError
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.operators import Linear, Operator

__all__ = ["MEANING", "abilities", "capabilities", "data_spread", "lacking", "require"]

MEANING = {
    "linear": "a linear operator with an adjoint",
    "gaussian": "Gaussian noise",
    "moments": "rounding, or other noise that is known by its moments",
    "noisy": "noise of positive variance",
    "exact": "a measurement without noise",
    "spectrum": "an operator with a closed-form singular value decomposition",
    "identity": "data with noise of one strength and no other damage",
    "mask": "an operator that keeps or drops single elements",
    "places": "an operator that keeps or drops whole places, with all their channels",
    "variance": "a denoiser that reports its variance",
    "covariance": "a denoiser that knows its covariance in closed form",
    "uneven": "a denoiser that takes a noise level for every element",
    "learned": "a denoiser that was trained",
}


def capabilities(operator: Operator) -> frozenset[str]:
    """The names above that hold for ``operator``."""
    found = set()
    variance = operator.likelihood.variance
    if isinstance(operator, Linear):
        found.add("linear")
        if operator.spectrum is not None:
            found.add("spectrum")
    if getattr(operator, "is_mask", False):
        found.add("mask")
        if alike(getattr(operator, "kept", None)) and alike(variance):
            found.add("places")
    if isinstance(operator.likelihood, Gaussian) and variance is not None:
        found.add("gaussian")
        found.add("noisy" if bool((variance > 0).all()) else "exact")
        if getattr(operator, "is_identity", False) and variance.numel() == 1:
            found.add("identity")
    else:
        found.add("noisy")
        if operator.likelihood.knows_moments:
            found.add("moments")
    return frozenset(found)


def alike(values: Tensor | None) -> bool:
    """Whether all channels (the first axis of three or more places) have the same values."""
    if values is None or values.ndim < 2:
        return True
    return bool((values == values[:1]).all())


def abilities(denoiser: Denoiser) -> frozenset[str]:
    """The names above that hold for ``denoiser``; a wrapper has those of what it wraps."""
    found = {"variance"} if denoiser.reports_variance else set()
    for layer in layers(denoiser):
        if isinstance(layer, Exact):
            found.add("covariance")
        if getattr(layer, "takes_uneven", False):
            found.add("uneven")
        if isinstance(layer, Preconditioned) and isinstance(layer.network, nn.Module):
            found.add("learned")
    return frozenset(found)


def data_spread(denoiser: Denoiser, blank: Tensor | None = None) -> float:
    """Standard deviation of the prior's data in model units.

    What the denoiser says of itself; else, where it reports a variance, what that is for pure noise
    (one evaluation on ``blank``, if it is given); else 1.
    """
    for layer in layers(denoiser):
        spread = getattr(layer, "spread", None)
        if isinstance(spread, float | int):
            return float(spread)
    if blank is None or "variance" not in abilities(denoiser):
        return 1.0
    process = denoiser.process
    with torch.no_grad():
        # one item, so that what the others hold cannot matter
        variance = denoiser(blank[:1], process.level(process.schedule.t_max)).variance
    return 1.0 if variance is None else float(variance.clamp(min=0).mean().sqrt())


def lacking(needs: Iterable[str], operator: Operator, denoiser: Denoiser) -> list[str]:
    """The needs that are not met, in a fixed order."""
    found = capabilities(operator) | abilities(denoiser)
    return [name for name in MEANING if name in set(needs) - found]


def require(method: str, needs: Iterable[str], operator: Operator, denoiser: Denoiser) -> None:
    """Refuses a method that cannot be applied.

    Raises:
        UnsupportedError: Naming what is missing and the methods that can be applied.
    """
    missing = lacking(needs, operator, denoiser)
    if missing:
        from sfumato.inverse.registry import applicable

        found = f"{type(operator).__name__} with {type(operator.likelihood).__name__} noise has not"
        if missing[0] in {"variance", "covariance", "uneven", "learned"}:
            found = "this one does not"
        wanted = " and ".join(MEANING[name] for name in missing)
        raise UnsupportedError(method, wanted, found, applicable(operator, denoiser))
