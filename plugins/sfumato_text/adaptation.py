"""How far an n-gram model may be trusted in a text of which some is known.

    p'(v | c) = Σ_k λ_k p(v | the last k letters of c)        k = 0, 2, 4, 8, … N

In texts like those that were counted, long contexts predict what follows, and λ_N is nearly 1. In
others they are sure of the wrong letter. How sure they may be is read off the known letters of the
text: λ is what predicts these best, by expectation-maximisation (Jelinek & Mercer, 1980), from
counts as if ``TRUST`` letters had been predicted by the longest contexts, so that a few known
letters change little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.denoisers.experts import ProductOfExperts
from sfumato.denoisers.sequential import Coarse, Sequential
from sfumato.inverse.tokens.histories import Chained
from sfumato_text.counting import visited
from sfumato_text.ngrams import NGrams

__all__ = ["Adapted", "adapted", "adapted_denoiser"]

TRUST, DOUBT = 20.0, 0.02
"""Pseudo-counts of the longest contexts, and of each of the others."""
STRETCH = 200  # letters that are followed side by side
MOST = 20_000  # letters that are looked at
ROUNDS = 100
LEAST = 1e-3  # smaller shares are left out


@dataclass(frozen=True, eq=False)
class Adapted(Sequential):
    """An n-gram chain that trusts long contexts only so far.

    Args:
        chain: The n-grams.
        shares: k → λ_k; they sum to 1.
    """

    chain: NGrams
    shares: dict[int, float]
    coarse: Coarse = field(init=False, repr=False)

    def __post_init__(self) -> None:
        inner, none = self.chain.coarse, self.shares.get(0, 0.0)
        probs = (1 - none) * inner.probs + none * self.chain.tables.probs[0]
        object.__setattr__(self, "coarse", Coarse(probs, inner.follow))

    @property
    def tokens(self) -> int:  # type: ignore[override]
        return self.chain.tokens

    def initial(self) -> tuple[ndarray, ndarray]:
        return self.chain.initial()

    def coarsen(self, states: ndarray) -> ndarray:
        return self.chain.coarsen(states)

    def follow(self, states: ndarray) -> tuple[ndarray, ndarray]:
        probs, targets = self.chain.follow(states)
        probs = probs * self.shares[self.chain.order]
        for n, share in self.shares.items():
            if n < self.chain.order:
                short, which = np.unique(self.chain.cut(states, n), return_inverse=True)
                probs += share * self.chain.follow(short)[0][which]
        return probs, targets


def adapted(chain: NGrams, known: Sequence[Int[ndarray, " _"]]) -> Adapted:
    """The chain for a text of which stretches are known.

    Args:
        chain: The n-grams.
        known: Letters of each stretch; the first ``MOST`` are looked at.
    """
    lengths = [*(n for n in (0, *(2**j for j in range(1, 6))) if n < chain.order), chain.order]
    share = np.array([*[DOUBT] * (len(lengths) - 1), TRUST])
    prior, share = share, share / share.sum()
    rows = [
        row[first : first + STRETCH] for row in known for first in range(0, len(row), STRETCH)
    ][: MOST // STRETCH]  # fmt: skip
    if rows:
        chances = predicted(chain, rows, lengths)
        for _ in range(ROUNDS):
            owed = share[:, None] * chances
            share = (owed / owed.sum(axis=0)).sum(axis=1) + prior
            share /= share.sum()
    share = np.where(share < LEAST, 0, share)
    share /= share.sum()
    return Adapted(chain, {n: float(x) for n, x in zip(lengths, share, strict=True) if x > 0})


def predicted(
    chain: NGrams, rows: Sequence[ndarray], lengths: Sequence[int]
) -> Float[ndarray, "orders letters"]:
    """p(letter | the last k letters before it) of every letter, for every k."""
    states, letters = visited(chain, rows)
    found = []
    for n in lengths:
        short, which = np.unique(chain.cut(states, n), return_inverse=True)
        found.append(chain.follow(short)[0][which, letters])
    return np.array(found)


def adapted_denoiser(denoiser: TokenDenoiser, known: Sequence[Int[ndarray, " _"]]) -> TokenDenoiser:
    """The same denoiser with its n-grams adapted to a text; as it is if it has none."""
    if isinstance(denoiser, ProductOfExperts):
        experts = tuple(adapted_denoiser(expert, known) for expert in denoiser.experts)
        return replace(denoiser, experts=experts)
    if isinstance(denoiser, Chained) and isinstance(denoiser.chain, NGrams):
        return Chained(denoiser.process, adapted(denoiser.chain, known), denoiser.limits)
    return denoiser
