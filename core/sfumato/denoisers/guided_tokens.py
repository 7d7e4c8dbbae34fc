"""Classifier-free guidance of tokens (Schiff et al., 2025, D-CFG).

A denoiser that was trained with and without a condition c is exaggerated in the direction of c,

    ln p^γ = γ ln p(x₀ | x_t, c) + (1 − γ) ln p(x₀ | x_t) + const,        place by place.

γ = 0 ignores the condition, 1 is the denoiser as it is, more exaggerates: better recognised, less
varied, and no posterior. Where scales are counted from the conditional denoiser (w = 0), γ = w + 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser
from sfumato.errors import InvalidOptionError
from sfumato.processes.categorical import Categorical, TokenLevel

__all__ = ["ClassifierFreeTokens", "extrapolate"]


@dataclass(frozen=True, eq=False)
class ClassifierFreeTokens(TokenDenoiser):
    """A conditional denoiser of tokens with guidance; two network calls for one.

    Args:
        denoiser: One that was trained with its condition dropped at times.
        scale: γ, 0 or more.
        drop: Entries of the condition that are left out in the unconditional call.

    Raises:
        InvalidOptionError: If ``scale`` is negative or not finite.
    """

    denoiser: TokenDenoiser
    scale: float = 1.0
    drop: tuple[str, ...] = ("label",)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.scale) and self.scale >= 0):
            raise InvalidOptionError("guidance", f"scale={self.scale}", "use 0 or more")

    @property
    def process(self) -> Categorical:  # type: ignore[override]
        return self.denoiser.process

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return self.denoiser.takes_time

    def __call__(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition = None
    ) -> Beliefs:
        told = condition or {}
        named = {name for name in self.drop if told.get(name) is not None}
        given = self.denoiser(x_t, t, condition)
        if not named or self.scale == 1:
            return given
        rest = {name: value for name, value in told.items() if name not in named}
        free = self.denoiser(x_t, t, rest or None)
        return Beliefs(extrapolate(given.log_probs, free.log_probs, self.scale))


def extrapolate(
    given: Float[Tensor, "*x tokens"], free: Float[Tensor, "*x tokens"], scale: float
) -> Float[Tensor, "*x tokens"]:
    """γ ln p_c + (1 − γ) ln p_u, normalised.

    A token that one of them excludes has no finite ratio. It stays excluded where the condition
    excludes it (and γ > 0), and counts as if both agreed where only the unconditional belief does.
    """
    if scale == 0:
        return free
    both = torch.isfinite(given) & torch.isfinite(free)
    mixed = torch.where(both, scale * given + (1 - scale) * free, given)
    return mixed.log_softmax(dim=-1)
