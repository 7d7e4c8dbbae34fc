"""Categorical processes: how tokens turn into noise, each by itself.

A clean token is one of K; a noisy one is one of the process's ``states``, which are the K tokens
and perhaps MASK, number K. The state of a batch is an integer tensor ``[batch, *x]``: a text, a
grid, the types of the bonds of a graph. Nothing here knows which places are neighbours.

A process is Markov, so three facts about it are enough, for times s < t:

    q(x_t | x₀)         what noise does to a clean token
    q(x_t | x_s)        the same between two levels
    q(x_s | x_t, x₀)    ∝ q(x_t | x_s) q(x_s | x₀), the bridge

The reverse step of a model that believes p(x₀ | x_t) is the bridge's mean over that belief.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.noise import Streams
from sfumato.processes.survivals import Survival

__all__ = ["Categorical", "TokenLevel"]

TINY = 1e-300
"""Below every chance that float64 arithmetic can divide by."""


@dataclass(frozen=True)
class TokenLevel:
    """Time t with the share α of tokens that are still alive.

    Both are float64 tensors on the CPU: 0-dimensional, or one entry per item.
    """

    t: Tensor
    alpha: Tensor
    process: Categorical | None = field(default=None, repr=False, compare=False)

    @cached_property
    def clean(self) -> bool:
        """Whether this is data (α = 1)."""
        return bool((self.alpha == 1).all())

    @cached_property
    def pure(self) -> bool:
        """Whether nothing of the data is left (α = 0)."""
        return bool((self.alpha == 0).all())

    def against(self, x: Tensor) -> Tensor:
        """α shaped to meet ``[batch, *x]``, on the device of ``x``."""
        return against(self.alpha, x)


def against(value: Tensor, x: Tensor) -> Tensor:
    """One number, or one per item, shaped to meet ``[batch, *x]`` on the device of ``x``."""
    value = value.to(x.device)
    return value if value.ndim == 0 else value.reshape(-1, *(1,) * (x.ndim - 1))


def alive(s: TokenLevel, t: TokenLevel) -> Tensor:
    """α_t/α_s: the chance to live on from s to t; 1 where nothing is alive at s to be lost."""
    return torch.where(s.alpha > 0, t.alpha / s.alpha.clamp(min=TINY), 1.0)


class Categorical(ABC):
    """A Markov process on tokens, independent between places given the data.

    Attributes:
        tokens: K, how many clean tokens there are.
        survival: α(t).
    """

    tokens: int
    survival: Survival

    @property
    @abstractmethod
    def mask(self) -> int | None:
        """The state that means "hidden", K; ``None`` if the process has none."""

    @property
    def states(self) -> int:
        """How many states a noisy token may be in."""
        return self.tokens + (self.mask is not None)

    def level(self, t: Tensor | float) -> TokenLevel:
        """The level at time ``t`` (0-dimensional, or one time per item)."""
        time = torch.as_tensor(t, dtype=torch.float64)
        return TokenLevel(time, self.survival.alpha(time), self)

    def levels(self, grid: Tensor) -> list[TokenLevel]:
        """One level per time of a grid."""
        return [self.level(t) for t in grid.double()]

    @abstractmethod
    def corrupt(
        self, x_0: Int[Tensor, "batch *x"], t: TokenLevel, streams: Streams
    ) -> Int[Tensor, "batch *x"]:
        """A draw from q(x_t | x₀)."""

    @abstractmethod
    def renoise(
        self, x_s: Int[Tensor, "batch *x"], s: TokenLevel, t: TokenLevel, streams: Streams
    ) -> Int[Tensor, "batch *x"]:
        """Goes from s up to the noisier t: a draw from q(x_t | x_s)."""

    @abstractmethod
    def start(self, shape: Sequence[int], streams: Streams) -> Int[Tensor, "batch *x"]:
        """Pure noise, what sampling starts from at t = 1; on the CPU."""

    @abstractmethod
    def log_likelihood(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel
    ) -> Float[Tensor, "batch *x tokens"]:
        """ln q(x_t | x₀ = v) for every token v, in float64; −∞ where it cannot be."""

    @abstractmethod
    def reverse(
        self,
        log_probs: Float[Tensor, "batch *x tokens"],
        x_t: Int[Tensor, "batch *x"],
        t: TokenLevel,
        s: TokenLevel,
    ) -> Float[Tensor, "batch *x states"]:
        """p(x_s | x_t) = Σ_v q(x_s | x_t, x₀ = v) p(v): the reverse step, as probabilities.

        Args:
            log_probs: ln p(x₀ = v | x_t), normalised.
            x_t: State.
            t: Its level.
            s: A cleaner level.
        """

    @abstractmethod
    def step(
        self,
        log_probs: Float[Tensor, "batch *x tokens"],
        x_t: Int[Tensor, "batch *x"],
        t: TokenLevel,
        s: TokenLevel,
        streams: Streams,
    ) -> Int[Tensor, "batch *x"]:
        """A draw from ``reverse``, without building it where that can be avoided.

        Draws in two stages: first *which* places change (a Bernoulli draw each), then *to what*.
        A single race over all states would lose every token whose chance per step is below the
        resolution of its random numbers.
        """

    @abstractmethod
    def prior(self) -> Float[Tensor, " states"]:
        """The distribution of a place of pure noise, which ``start`` draws from; float64."""

    @abstractmethod
    def inflow(self, x_t: Int[Tensor, "batch *x"]) -> Float[Tensor, "batch *x states"]:
        """R(y, x_t): the rate of jumps from every other state y into ``x_t``; 0 at y = x_t.

        Rates are per unit of −ln α. Only processes in continuous time have them.
        """

    @abstractmethod
    def ratios(
        self,
        log_probs: Float[Tensor, "batch *x tokens"],
        x_t: Int[Tensor, "batch *x"],
        t: TokenLevel,
    ) -> Float[Tensor, "batch *x states"]:
        """p_t(x_t with y at this place)/p_t(x_t) for every state y: Σ_v p(v) q(y | v)/q(x_t | v).

        With a belief that is all on one token these are the ratios of q(· | x₀).

        Args:
            log_probs: ln p(x₀ = v | x_t), normalised.
            x_t: State.
            t: Its level.
        """

    def share(
        self,
        log_probs: Float[Tensor, "batch *x tokens"],
        x_t: Int[Tensor, "batch *x"],
        t: TokenLevel,
    ) -> Float[Tensor, "batch *x tokens"]:
        """p(v)/q(x_t | v), in float64: what every reverse formula is built from.

        Where q(x_t | v) is 0 the belief in v must be 0 too, and contributes nothing.
        """
        total = self.log_likelihood(x_t, t).exp()
        return torch.where(total > 0, log_probs.double().exp() / total.clamp(min=TINY), 0.0)

    @abstractmethod
    def matrix(self, s: TokenLevel, t: TokenLevel) -> Float[Tensor, "states states"]:
        """q(x_t = column | x_s = row), for tests and for small alphabets."""

    def leave_one_out(
        self,
        log_probs: Float[Tensor, "batch *x tokens"],
        x_t: Int[Tensor, "batch *x"],
        t: TokenLevel,
    ) -> Float[Tensor, "batch *x tokens"]:
        """ln p(x₀,i | x_t without place i), from ln p(x₀,i | x_t).

        Bayes' rule backwards: p(x₀,i | x_t) ∝ q(x_t,i | x₀,i) p(x₀,i | the rest), so the likelihood
        of the place's own state is taken out. Where that likelihood is 0 for a token nothing can be
        learnt about it, and it keeps probability 0.
        """
        own = self.log_likelihood(x_t, t).to(log_probs)
        rest = torch.where(torch.isfinite(own), log_probs - own, -torch.inf)
        return rest.log_softmax(dim=-1)
