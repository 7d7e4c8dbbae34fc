"""Exponentials and logarithms of matrices of rates, with all entries accurate.

For rates R with the largest exit rate q, R + q I has no negative entry, and

    exp(σ R) = e^{−σ q} exp(σ (R + q I))

is a sum of positive terms (uniformisation): small chances keep their digits and what cannot be
reached has chance exactly 0, where a general-purpose exponential leaves rounding errors of either
sign. The sum is taken for σ/2ᵏ and squared k times.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError

__all__ = ["exponential", "limit", "logarithm"]

TERMS = 16
"""Of the series; its remainder for an exponent of 1/2 is below 1e-19."""

HALVINGS = 5
"""At least so many, so that paths of up to 16·2⁵ jumps are counted however short the time is."""

FOREVER = 64
"""Doublings of the time after which a chain counts as settled: 2⁶⁴ jumps."""


def exponential(
    R: Float[Tensor, "n n"], sigma: Float[Tensor, "*items"]
) -> Float[Tensor, "*items n n"]:
    """exp(σ R), rows summing to 1, for each σ ≥ 0."""
    eye = torch.eye(len(R), dtype=R.dtype, device=R.device)
    exit_rate = float(-R.diagonal().min())
    largest = float(sigma.max()) * exit_rate
    halvings = max(HALVINGS, math.ceil(math.log2(max(largest, 1e-9))) + 2)
    short = (sigma.to(R.device) / 2**halvings)[..., None, None]
    jumps = short * (R + exit_rate * eye)
    found: Tensor = eye.expand(jumps.shape)
    for k in range(TERMS, 0, -1):
        found = eye + jumps @ found / k
    found = found * torch.exp(-short * exit_rate)
    for _ in range(halvings):
        found = stochastic(found @ found)
    return found


def limit(R: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """exp(σ R) for σ → ∞."""
    slowest = max(float(-R.diagonal().min()), 1e-30)
    found = exponential(R, torch.tensor(1 / slowest, dtype=R.dtype))
    for _ in range(FOREVER):
        found = stochastic(found @ found)
    return found


def stochastic(Q: Tensor) -> Tensor:
    """Rows brought back to sum 1, against the drift of repeated squaring."""
    return Q / Q.sum(dim=-1, keepdim=True)


def logarithm(C: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """The principal ln C: square roots until C is near I, then a series.

    Raises:
        InvalidOptionError: If C has no real logarithm that the iteration can reach (an eigenvalue
            that is 0 or negative).
    """
    eye = torch.eye(len(C), dtype=C.dtype, device=C.device)
    halvings = 0
    while float(torch.linalg.matrix_norm(C - eye)) > 0.2:
        C, halvings = root(C), halvings + 1
        if halvings > 60 or not bool(torch.isfinite(C).all()):
            raise InvalidOptionError(
                "channel", "a matrix without a real logarithm, too noisy for continuous time",
                "mix it with the identity, or use it as a step of a discrete process (Steps)",
            )  # fmt: skip
    # ln C = 2 artanh Z with Z = (C − I)(C + I)⁻¹
    Z = torch.linalg.solve(C + eye, C - eye, left=False)
    power, total = Z, torch.zeros_like(Z)
    for k in range(1, 40, 2):
        total, power = total + power / k, power @ Z @ Z
    scaled: Tensor = 2.0 ** (halvings + 1) * total
    return scaled


def root(C: Tensor) -> Tensor:
    """The principal square root (Denman & Beavers, 1976)."""
    Y: Tensor = C
    Z: Tensor = torch.eye(len(C), dtype=C.dtype, device=C.device)
    for _ in range(50):
        singular = torch.linalg.inv_ex(Y).info + torch.linalg.inv_ex(Z).info
        if bool(singular):
            return torch.full_like(C, torch.nan)
        Y, Z = (Y + torch.linalg.inv(Z)) / 2, (Z + torch.linalg.inv(Y)) / 2
        if float((Y @ Y - C).abs().max()) < 1e-14:
            return Y
    return Y if float((Y @ Y - C).abs().max()) < 1e-9 else torch.full_like(C, torch.nan)
