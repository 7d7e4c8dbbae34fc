"""The variances of the reverse kernel, and what a step with one of them costs.

    β̃   of q(x_s | x_t, x₀), the bridge: what is right where x₀ is known ("small"),
    β   of q(x_t | x_s), the forward step: what is right for data of unit spread ("large"),
    β̃ + k₀² C    for x₀ with variance C given x_t (Bao et al., 2022),
    β̃^{1−u} β^u  with u from a network (Nichol & Dhariwal, 2021, eq. 15).

A kernel with x̂ for x₀ and variance v costs (Ho, Jain & Abbeel, 2020, eq. 5), element by element,

    KL(q(x_s | x_t, x₀) ‖ p(x_s | x_t)) = ½ [ln(v/β̃) + (β̃ + k₀² (x₀ − x̂)²)/v − 1].
"""

from __future__ import annotations

from typing import overload

from torch import Tensor

from sfumato.processes import Level, Number, Scales, like
from sfumato.samplers.base import bridge_variance, weights

__all__ = ["forward_variance", "interpolated_variance", "kernel_kl", "widened_variance"]


@overload
def forward_variance(t: Level, s: Level) -> Tensor: ...
@overload
def forward_variance(t: Scales, s: Scales) -> Number: ...
def forward_variance(t: Level | Scales, s: Level | Scales) -> Number:
    """β: variance of q(x_t | x_s)."""
    return t.sigma**2 - (t.alpha / s.alpha * s.sigma) ** 2


def interpolated_variance(part: Tensor, t: Level, s: Level) -> Tensor:
    """exp((1 − part) ln β̃ + part ln β), shaped as ``part``; part is 0 to 1 where it is learnt."""
    low, high = (like(kind(t, s).log(), part) for kind in (bridge_variance, forward_variance))
    learned: Tensor = (low + part * (high - low)).exp()
    return learned


def widened_variance(t: Level, s: Level, spread: Tensor, x: Tensor) -> Tensor:
    """β̃ + k₀² C, for ``x``: the variance of x_s given x_t where that of x₀ is C = ``spread``."""
    keep, _, bridge = weights(t, s, 1.0)
    return like(bridge, x) + like(keep, x) ** 2 * like(spread, x).clamp(min=0)


def kernel_kl(t: Level, s: Level, square: Tensor, variance: Tensor) -> Tensor:
    """KL(q(x_s | x_t, x₀) ‖ p(x_s | x_t)) of each element, in nats.

    Args:
        t: The level that the step starts from.
        s: The level that it ends at; not clean.
        square: (x₀ − x̂)², or its mean.
        variance: v, as a coefficient for ``square``.
    """
    keep, _, bridge = weights(t, s, 1.0)
    b, v = like(bridge, square), like(variance, square)
    return ((v / b).log() + (b + like(keep, square) ** 2 * square) / v - 1) / 2
