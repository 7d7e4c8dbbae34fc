"""Weighted states of each item: what particle methods return before one is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.inverse.particles import pick
from sfumato.inverse.tokens.problems import TokenDraws
from sfumato.noise import Streams

__all__ = ["Cloud"]


@dataclass(frozen=True, eq=False)
class Cloud:
    """Weighted states of each item.

    Args:
        x: ``[items, particles, *x]``.
        log_weights: ln of the normalised weights, ``[items, particles]``.
        log_evidence: Estimate of ln p(y) of each item.
        effective: Smallest effective number of particles that each item had on its way.
        tokens: K.
    """

    x: Int[Tensor, "items particles *x"]
    log_weights: Float[Tensor, "items particles"]
    log_evidence: Float[Tensor, " items"]
    effective: Float[Tensor, " items"]
    tokens: int

    @property
    def marginals(self) -> Float[Tensor, "items *x tokens"]:
        """Share of the weight that each token has at each place."""
        return shares(self.x, self.log_weights, self.tokens)

    @classmethod
    def joined(cls, parts: Sequence[Cloud], groups: Sequence[Sequence[int]]) -> Cloud:
        """The clouds of groups of items, in the order of the items."""
        back = torch.tensor([item for group in groups for item in group]).argsort()
        back = back.to(parts[0].x.device)
        return cls(
            torch.cat([part.x for part in parts])[back],
            torch.cat([part.log_weights for part in parts])[back],
            torch.cat([part.log_evidence for part in parts])[back],
            torch.cat([part.effective for part in parts])[back],
            parts[0].tokens,
        )

    def draw(self, streams: Streams) -> TokenDraws:
        """One state of each item by its weight; the marginals are those of all."""
        chosen = pick(self.log_weights, streams)
        x = self.x[torch.arange(len(chosen), device=chosen.device), chosen]
        return TokenDraws(x, self.log_evidence, self.effective, self.marginals)


def shares(
    x: Int[Tensor, "items many *x"], log_w: Float[Tensor, "items many"], tokens: int
) -> Float[Tensor, "items *x tokens"]:
    """Weighted frequencies of tokens at each place."""
    places = x.movedim(1, -1)
    weight = log_w.exp().reshape(len(x), *(1,) * (x.ndim - 2), -1).expand(places.shape)
    blank = torch.zeros(*places.shape[:-1], tokens, dtype=torch.float64, device=x.device)
    return blank.scatter_add_(-1, places, weight)
