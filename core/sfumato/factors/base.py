"""Weights of whole sequences that a finite-state machine can compute.

A regular expression, a keyword that must occur once, a length, a channel that changes, drops or
adds letters: each gives a sequence x of tokens a weight

    φ(x) = Σ_paths  initial(s₀) Π_i f_i(s_{i−1}, x_i, s_i)  final(s_L),

a sum over the paths of a machine with few states. Given independent beliefs q_i(v) about the tokens
(what a denoiser says), the tilted distribution ∝ φ(x) Π q_i(x_i) is then sampled exactly: filter
backwards, draw forwards. Given a chain prior, the machine's state joins the chain's.

A ``Machine`` is bound to one measurement or pattern; a product of machines is a machine. All
weights are natural logarithms in float64, and no message is ever exponentiated on a common scale:
along a row the weights of states can differ by more than e⁷⁰⁰, which is where float64 ends.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Arcs", "Machine", "runs"]


@dataclass(frozen=True)
class Arcs:
    """Transitions that leave some states, as a flat list.

    Args:
        source: Which of the given states each arc leaves: an index into the list that was asked
            for, not a state.
        token: The token that it reads.
        target: The state that it reaches.
        log_weight: ln f_i.
    """

    source: Int[Tensor, " arcs"]
    token: Int[Tensor, " arcs"]
    target: Int[Tensor, " arcs"]
    log_weight: Float[Tensor, " arcs"]


class Machine(ABC):
    """A weighted finite-state machine over the tokens of one sequence.

    Attributes:
        tokens: K, size of the alphabet.
        states: How many states there are, numbered from 0.
        places: How many places it is for; ``None`` if it fits any number.
        name: What error messages call it.
    """

    tokens: int
    states: int
    places: int | None = None
    name: str = "machine"

    def __str__(self) -> str:
        return self.name

    @property
    @abstractmethod
    def initial(self) -> Float[Tensor, " states"]:
        """ln of the weight with which a path starts in each state."""

    @property
    @abstractmethod
    def final(self) -> Float[Tensor, " states"]:
        """ln of the weight with which a path may end in each state, after the last token."""

    @abstractmethod
    def arcs(self, place: int, states: Int[Tensor, " n"]) -> Arcs:
        """All transitions of positive weight that leave ``states`` at ``place``.

        The contract that lattices over prior histories use. ``place`` counts from 0.
        """

    @abstractmethod
    def forward(
        self, place: int, log_a: Float[Tensor, "batch states"], log_q: Float[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch states"]:
        """ln Σ_{s,v} a(s) q(v) f(s, v, s')."""

    @abstractmethod
    def backward(
        self, place: int, log_b: Float[Tensor, "batch states"], log_q: Float[Tensor, "batch tokens"]
    ) -> Float[Tensor, "batch states"]:
        """ln Σ_{v,s'} q(v) f(s, v, s') b(s')."""

    @abstractmethod
    def tilt(
        self, place: int, log_a: Float[Tensor, "batch states"], log_b: Float[Tensor, "batch states"]
    ) -> Float[Tensor, "batch tokens"]:
        """ln Σ_{s,s'} a(s) f(s, v, s') b(s') for every token v: how likely φ makes each token.

        With a one-hot ``log_a`` it is what drawing forwards needs; with filtered ``log_a`` it is
        the twist of every token at a place.
        """

    @abstractmethod
    def advance(
        self, place: int, log_a: Float[Tensor, "batch states"], token: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch states"]:
        """ln Σ_s a(s) f(s, token, s'): where a known token leads."""


def runs(sizes: Int[Tensor, " n"]) -> tuple[Int[Tensor, " total"], Int[Tensor, " total"]]:
    """For groups of these sizes, one after the other: the group of each member, and its rank."""
    which = torch.arange(len(sizes)).repeat_interleave(sizes)
    return which, torch.arange(len(which)) - (sizes.cumsum(0) - sizes)[which]
