"""Categorical processes with any transition matrix, in continuous or in discrete time.

    continuous   Q̄_t = exp(−ln α_t · R)      R: rates of jumps, rows sum to 0
    discrete     Q̄_t = Q₁ Q₂ ⋯ Q_k           k = ⌈t T⌉ of T steps (Austin et al., 2021)

−ln α is the clock: between s and t the first has Q_{t|s} = exp(ln(α_s/α_t) · R). A discrete process
stays where it is between its steps, so that it too is a process for all t in [0, 1], and a grid
that visits its steps is a grid like any other.

A list of matrices is needed where jumps depend on the token: letters that look alike, neighbours in
an embedding, a channel. Everything costs O(K²) per place, K³ per level.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato import draws
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes.categorical import Categorical, TokenLevel, alive
from sfumato.processes.exponentials import exponential, limit
from sfumato.processes.survivals import LinearSurvival, Survival

__all__ = ["Dense", "Rates", "Steps"]


class Dense(Categorical):
    """A process that is known by its transition matrices."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many rows its matrices have."""

    @abstractmethod
    def between(self, s: TokenLevel, t: TokenLevel) -> Float[Tensor, "*items states states"]:
        """q(x_t = column | x_s = row); one matrix per item where levels have one entry per item."""

    @property
    def mask(self) -> int | None:
        return self.tokens if self.size > self.tokens else None

    def since_clean(self, t: TokenLevel) -> Tensor:
        """Q̄_t."""
        return self.between(self.level(torch.zeros_like(t.t)), t)

    def corrupt(self, x_0: Tensor, t: TokenLevel, streams: Streams) -> Tensor:
        return draws.choose(rows(self.since_clean(t), x_0), streams)

    def renoise(self, x_s: Tensor, s: TokenLevel, t: TokenLevel, streams: Streams) -> Tensor:
        return draws.choose(rows(self.between(s, t), x_s), streams)

    def prior(self) -> Tensor:
        """The mean row of Q̄ at t = 1; all rows are equal there if the noise forgets its data."""
        return self.since_clean(self.level(1.0))[: self.tokens].mean(dim=0)

    def start(self, shape: Sequence[int], streams: Streams) -> Tensor:
        return draws.choose(self.prior().expand(*shape, -1), streams)

    def log_likelihood(self, x_t: Tensor, t: TokenLevel) -> Tensor:
        return rows(self.since_clean(t).mT, x_t)[..., : self.tokens].log()

    def ratios(self, log_probs: Tensor, x_t: Tensor, t: TokenLevel) -> Tensor:
        return spread(self.share(log_probs, x_t, t), self.since_clean(t))

    def reverse(self, log_probs: Tensor, x_t: Tensor, t: TokenLevel, s: TokenLevel) -> Tensor:
        clean = spread(self.share(log_probs, x_t, t), self.since_clean(s))
        return clean * rows(self.between(s, t).mT, x_t)

    def step(
        self, log_probs: Tensor, x_t: Tensor, t: TokenLevel, s: TokenLevel, streams: Streams
    ) -> Tensor:
        chance = self.reverse(log_probs, x_t, t, s)
        own = x_t.unsqueeze(-1)
        stay = chance.gather(-1, own).squeeze(-1)
        others = chance.scatter(-1, own, 0.0)
        place = draws.uniform(x_t, streams) * (stay + others.sum(dim=-1))
        return torch.where(place < stay, x_t, draws.choose(others, streams))

    def matrix(self, s: TokenLevel, t: TokenLevel) -> Tensor:
        return self.between(s, t)


@dataclass(frozen=True, eq=False)
class Rates(Dense):
    """Jumps in continuous time.

    Args:
        tokens: K.
        rates: R: off the diagonal the rate of jumps from row to column, not negative; rows sum to
            0. K rows, or K + 1 where the last state is MASK.
        survival: α(t), whose −ln is the clock.

    Raises:
        InvalidOptionError: If R is no such matrix.
    """

    tokens: int
    rates: Float[Tensor, "rows columns"] = field(repr=False)
    survival: Survival = field(default_factory=LinearSurvival)

    def __post_init__(self) -> None:
        R = torch.as_tensor(self.rates, dtype=torch.float64)
        require_square("rates", R, self.tokens)
        off = R - R.diagonal().diag()
        if not torch.isfinite(R).all() or off.min() < 0 or R.sum(dim=1).abs().max() > 1e-9:
            raise InvalidOptionError(
                "rates", "not a matrix of rates",
                "entries off the diagonal must not be negative and rows must sum to 0",
            )  # fmt: skip
        object.__setattr__(self, "rates", off - off.sum(dim=1).diag())

    @property
    def size(self) -> int:
        return len(self.rates)

    @functools.cached_property
    def forgotten(self) -> Float[Tensor, "states states"]:
        """The limit of Q̄ for α → 0."""
        return limit(self.rates)

    def between(self, s: TokenLevel, t: TokenLevel) -> Tensor:
        clock = -alive(s, t).log()
        lasting = torch.isfinite(clock)
        Q = exponential(self.rates, torch.where(lasting, clock, 0.0))
        return torch.where(lasting[..., None, None], Q, self.forgotten)

    def inflow(self, x_t: Tensor) -> Tensor:
        return rows((self.rates - self.rates.diagonal().diag()).mT, x_t)


@dataclass(frozen=True, eq=False)
class Steps(Dense):
    """Jumps at the times 0⁺, 1/T, 2/T, …, one matrix each.

    α(t) = 1 − t is only the name of a time here.

    Args:
        tokens: K.
        matrices: Q_k, ``[T, states, states]``: rows are distributions. K rows, or K + 1 where the
            last state is MASK.

    Raises:
        InvalidOptionError: If rows are not distributions.
    """

    tokens: int
    matrices: Float[Tensor, "steps rows columns"] = field(repr=False)
    survival: Survival = field(default_factory=LinearSurvival, init=False)

    def __post_init__(self) -> None:
        Q = torch.as_tensor(self.matrices, dtype=torch.float64)
        require_square("matrices", Q[0], self.tokens)
        if not torch.isfinite(Q).all() or Q.min() < 0 or (Q.sum(dim=-1) - 1).abs().max() > 1e-6:
            raise InvalidOptionError(
                "matrices", "rows that are no distributions",
                "entries must not be negative and every row must sum to 1",
            )  # fmt: skip
        object.__setattr__(self, "matrices", Q / Q.sum(dim=-1, keepdim=True))

    @property
    def size(self) -> int:
        return self.matrices.shape[-1]

    @functools.cached_property
    def products(self) -> Float[Tensor, "steps_and_one states states"]:
        """Q₁ ⋯ Q_k for k = 0, …, T."""
        found = [torch.eye(self.size, dtype=torch.float64)]
        for Q in self.matrices:
            found.append(found[-1] @ Q)
        return torch.stack(found)

    def number(self, t: Tensor) -> Tensor:
        """How many steps have been taken at ``t``."""
        # a time that is meant to be k/T may lie a rounding above it
        return (t * len(self.matrices) - 1e-9).ceil().long().clamp(0, len(self.matrices))

    def between(self, s: TokenLevel, t: TokenLevel) -> Tensor:
        first, last = self.number(s.t + 0 * t.t), self.number(t.t + 0 * s.t)  # of one shape
        if bool((first == 0).all()):
            return self.products[last]
        pairs = zip(first.reshape(-1).tolist(), last.reshape(-1).tolist(), strict=True)
        blank = self.products[0]
        found = [functools.reduce(torch.matmul, self.matrices[a:b], blank) for a, b in pairs]
        return torch.stack(found).reshape(*first.shape, self.size, self.size)

    def inflow(self, x_t: Tensor) -> Tensor:
        raise UnsupportedError(
            "a bound in continuous time", "rates of jumps", "Steps has discrete steps",
            instead=["variational", "Rates"],
        )  # fmt: skip


def rows(Q: Float[Tensor, "*items states states"], x: Tensor) -> Float[Tensor, "batch *x states"]:
    """Row x of the one matrix, or of each item's own."""
    Q = Q.to(x.device)
    if Q.ndim == 2:
        return Q[x]
    return Q[torch.arange(len(x), device=x.device).reshape(-1, *(1,) * (x.ndim - 1)), x]


def spread(share: Float[Tensor, "batch *x tokens"], Q: Tensor) -> Float[Tensor, "batch *x states"]:
    """Σ_v share(v) Q(v, ·), with one matrix or each item's own."""
    Q = Q.to(share.device)[..., : share.shape[-1], :]
    if Q.ndim == 3:
        Q = Q.reshape(len(Q), *(1,) * (share.ndim - 3), *Q.shape[1:])
        if share.ndim == 2:
            return (share.unsqueeze(-2) @ Q).squeeze(-2)
    return share @ Q


def require_square(what: str, Q: Tensor, tokens: int) -> None:
    if Q.ndim != 2 or Q.shape[0] != Q.shape[1] or Q.shape[0] not in (tokens, tokens + 1):
        raise InvalidOptionError(
            what, f"{'×'.join(str(n) for n in Q.shape)} for {tokens} tokens",
            f"give {tokens}×{tokens}, or one row and column more for MASK",
        )  # fmt: skip
