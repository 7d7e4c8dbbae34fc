"""Texts of unknown length in rows of known length: the text, then a sign for its end.

A chain of K tokens says nothing about where a text ends. ``Ended`` adds token K, the end, at weight
1 after any history, and after it nothing but itself. A row with l tokens before its first end
weighs p(x_1 … x_l): lengths are compared by how probable the text is and by nothing else. It is a
weight, not a distribution, and is used with evidence that bounds the length.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from sfumato.denoisers.sequential import Coarse, Sequential

__all__ = ["Ended"]


@dataclass(frozen=True, eq=False)
class Ended(Sequential):
    """A chain with one token more, for the end.

    States of the chain from 0 on move up by one, to leave 0 for what is after the end.

    Args:
        chain: The chain of K tokens.
    """

    chain: Sequential
    tokens: int = field(init=False)
    coarse: Coarse = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", self.chain.tokens + 1)
        inner = self.chain.coarse
        count, last = len(inner.probs), self.chain.tokens
        probs = np.zeros((count + 1, self.tokens))
        probs[:count, :last], probs[:, last] = inner.probs, 1
        follow = np.full((count + 1, self.tokens), count, np.int64)
        follow[:count, :last] = inner.follow
        object.__setattr__(self, "coarse", Coarse(probs, follow))

    def initial(self) -> tuple[Int[ndarray, " n"], Float[ndarray, " n"]]:
        states, weights = self.chain.initial()
        return moved(states), weights

    def follow(
        self, states: Int[ndarray, " n"]
    ) -> tuple[Float[ndarray, "n tokens"], Int[ndarray, "n tokens"]]:
        ended = states == 0
        probs = np.zeros((len(states), self.tokens))
        targets = np.zeros((len(states), self.tokens), np.int64)
        going = np.flatnonzero(~ended)
        if len(going):
            inner, after = self.chain.follow(back(states[going]))
            probs[going, :-1], targets[going, :-1] = inner, moved(after)
        probs[:, -1] = 1
        return probs, targets

    def coarsen(self, states: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
        found = np.full(len(states), len(self.chain.coarse.probs), np.int64)
        going = np.flatnonzero(states != 0)
        if len(going):
            found[going] = self.chain.coarsen(back(states[going]))
        return found


def moved(states: Int[ndarray, "..."]) -> Int[ndarray, "..."]:
    """States of the chain as states with an end."""
    found: ndarray = np.where(states >= 0, states + 1, states)
    return found


def back(states: Int[ndarray, "..."]) -> Int[ndarray, "..."]:
    """The inverse of ``moved``."""
    found: ndarray = np.where(states > 0, states - 1, states)
    return found
