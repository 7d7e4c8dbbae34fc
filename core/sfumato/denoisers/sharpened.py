"""Beliefs made sharper: temperature, the k likeliest tokens, the nucleus.

    p_T(v) ∝ p(v)^{1/T},      then the k likeliest,      then the fewest whose mass reaches P

(Fan et al., 2018; Holtzman et al., 2020). What comes out is more typical and less varied than the
data: it is no longer the belief that the process's reverse step needs, so samples no longer follow
the prior's law.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser
from sfumato.errors import InvalidOptionError
from sfumato.processes.categorical import Categorical, TokenLevel

__all__ = ["Sharpened", "sharpen"]


@dataclass(frozen=True, eq=False)
class Sharpened(TokenDenoiser):
    """A denoiser whose beliefs are sharpened.

    Args:
        inner: The denoiser.
        temperature: T; 1 leaves the belief as it is, 0 makes the likeliest token certain.
        top_k: How many tokens may remain; all if not given.
        nucleus: P in (0, 1]. The token with which the mass reaches P is kept, so at least one is.

    Raises:
        InvalidOptionError: If an option makes no sense.
    """

    inner: TokenDenoiser
    temperature: float = 1.0
    top_k: int | None = None
    nucleus: float = 1.0

    def __post_init__(self) -> None:
        few = self.top_k is not None and self.top_k < 1
        if few or not (self.temperature >= 0 and 0 < self.nucleus <= 1):
            raise InvalidOptionError(
                "sharpening",
                f"temperature={self.temperature}, top_k={self.top_k}, nucleus={self.nucleus}",
                "use temperature >= 0, top_k >= 1 and 0 < nucleus <= 1",
            )

    @property
    def process(self) -> Categorical:  # type: ignore[override]
        return self.inner.process

    @property
    def takes_time(self) -> bool:  # type: ignore[override]
        return self.inner.takes_time

    def __call__(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition = None
    ) -> Beliefs:
        found = self.inner(x_t, t, condition).log_probs
        return Beliefs(sharpen(found, self.temperature, top_k=self.top_k, nucleus=self.nucleus))


def sharpen(
    log_probs: Float[Tensor, "*x tokens"],
    temperature: float = 1.0,
    *,
    top_k: int | None = None,
    nucleus: float = 1.0,
) -> Float[Tensor, "*x tokens"]:
    """ln p after temperature, top-k and nucleus, in this order; normalised. Ties go by index."""
    if temperature == 0:
        certain = torch.full_like(log_probs, -torch.inf)
        return certain.scatter_(-1, log_probs.argmax(dim=-1, keepdim=True), 0.0)
    found = (log_probs / temperature).log_softmax(dim=-1) if temperature != 1 else log_probs
    if top_k is None and nucleus == 1:
        return found
    falling, order = found.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        falling[..., top_k:] = -torch.inf
    p = falling.double().softmax(dim=-1)
    before = p.cumsum(dim=-1) - p  # the mass of the tokens that are likelier
    kept = torch.where(before < nucleus, falling, -torch.inf).log_softmax(dim=-1)
    return torch.empty_like(found).scatter_(-1, order, kept)
