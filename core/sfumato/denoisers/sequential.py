"""Priors that write from left to right: Markov chains whose states are histories.

    p(x) = Σ_h₀ w(h₀) Π_i p(x_i | h_{i−1}),        h_i = follow(h_{i−1}, x_i).

A Markov chain of any order has this form, and so has an n-gram model that backs off: its state is
the longest end of the history that it has a row for. Two histories with the same state have the
same future, which is what makes exact sums over all texts possible: forwards over states, and back.

Most such priors have too many states to hold all of them. They offer a *coarse* chain besides, of
few states, into which every state can be mapped, and which looks ahead for them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from sfumato.errors import ShapeError

__all__ = ["Coarse", "MarkovSequence", "Sequential", "draw", "walk"]


@dataclass(frozen=True, eq=False)
class Coarse:
    """A chain of few states, 0 … n−1, which excludes nothing that the full one allows.

    Args:
        probs: p(v | state), rows sum to 1.
        follow: The state that each token leads to.
    """

    probs: Float[ndarray, "states tokens"]
    follow: Int[ndarray, "states tokens"]


class Sequential(ABC):
    """A distribution over token sequences of any length, from left to right.

    States are integers of the chain's own choice. All arrays are numpy's: a lattice takes many
    small steps, where the cost of a call is what counts.

    Attributes:
        tokens: K.
        coarse: The chain that looks ahead.
    """

    tokens: int
    coarse: Coarse

    @abstractmethod
    def initial(self) -> tuple[Int[ndarray, " n"], Float[ndarray, " n"]]:
        """The states that a sequence may begin in, and their probabilities."""

    @abstractmethod
    def follow(
        self, states: Int[ndarray, " n"]
    ) -> tuple[Float[ndarray, "n tokens"], Int[ndarray, "n tokens"]]:
        """p(v | state), and the state that each token leads to."""

    @abstractmethod
    def coarsen(self, states: Int[ndarray, " n"]) -> Int[ndarray, " n"]:
        """The coarse state of each state."""


@dataclass(frozen=True, eq=False)
class MarkovSequence(Sequential):
    """A first-order Markov chain; its state is the last token, and K before the first.

    Args:
        start: p(x₁).
        transition: p(x_i = column | x_{i−1} = row).
    """

    start: Float[Tensor, " tokens"]
    transition: Float[Tensor, "tokens tokens"]
    rows: ndarray = field(init=False, repr=False)
    tokens: int = field(init=False)
    coarse: Coarse = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tokens = len(self.start)
        if tuple(self.transition.shape) != (tokens, tokens):
            raise ShapeError("transition", self.transition.shape, f"{tokens}×{tokens}")
        rows = torch.cat([self.transition, self.start.unsqueeze(0)]).double().cpu().numpy()
        following = np.broadcast_to(np.arange(tokens), rows.shape)
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "tokens", tokens)
        object.__setattr__(self, "coarse", Coarse(rows, following))

    def initial(self) -> tuple[ndarray, ndarray]:
        return np.array([self.tokens]), np.ones(1)

    def follow(self, states: ndarray) -> tuple[ndarray, ndarray]:
        return self.rows[states], self.coarse.follow[states]

    def coarsen(self, states: ndarray) -> ndarray:
        return states


def walk(chain: Sequential, rows: Sequence[Int[ndarray, " _"]]) -> list[ndarray]:
    """ln p(x_i | x before i) of rows, side by side, each from the chain's beginning.

    Their sum is ln p(x): the chain rule.
    """
    begin, weights = chain.initial()
    lengths = np.array([len(row) for row in rows])
    order = np.argsort(-lengths, kind="stable")
    padded = np.zeros((len(rows), lengths.max(initial=0)), np.int64)
    for place, index in enumerate(order):
        padded[place, : lengths[index]] = rows[index]
    states = np.tile(begin, (len(rows), 1))
    belief = np.tile(weights, (len(rows), 1))
    found = np.zeros(padded.shape)
    for i in range(padded.shape[1]):
        live = int((lengths > i).sum())
        token = padded[:live, i]
        probs, following = chain.follow(states[:live].reshape(-1))
        index = np.repeat(token, len(begin))
        each = np.arange(len(index))
        joint = belief[:live] * probs[each, index].reshape(live, -1)
        states = following[each, index].reshape(live, -1)
        total = joint.sum(axis=1)
        with np.errstate(divide="ignore"):
            found[:live, i] = np.log(total)
        belief = joint / np.where(total > 0, total, 1)[:, None]
    logs: list[ndarray] = [np.empty(0)] * len(rows)
    for place, index in enumerate(order):
        logs[index] = found[place, : lengths[index]]
    return logs


def draw(chain: Sequential, uniforms: Float[ndarray, "rows places"]) -> Int[ndarray, "rows length"]:
    """Rows from p(x), written from left to right: exact, one step of the chain per place.

    Args:
        chain: The prior.
        uniforms: Numbers in [0, 1): one for each place, and one before them for the first state.
    """
    begin, weights = chain.initial()
    ends = np.cumsum(weights)
    states = begin[np.minimum((ends <= uniforms[:, :1] * ends[-1]).sum(axis=1), len(begin) - 1)]
    x = np.zeros((len(uniforms), uniforms.shape[1] - 1), np.int64)
    each = np.arange(len(x))
    for i in range(x.shape[1]):
        probs, following = chain.follow(states)
        ends = np.cumsum(probs, axis=1)
        place = uniforms[:, i + 1 : i + 2] * ends[:, -1:]
        x[:, i] = np.minimum((ends <= place).sum(axis=1), chain.tokens - 1)
        states = following[each, x[:, i]]
    return x
