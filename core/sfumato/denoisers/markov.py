"""The exact denoiser of a Markov chain of tokens, under any noise.

    p(x) = p₁(x₁) Π A(x_i, x_{i+1})

A process turns each token into noise by itself, so p(x₀ | x_t) ∝ p(x₀) Π_i q(x_t,i | x₀,i) is a
chain with evidence at its places, whatever the process: forward–backward gives every marginal. The
same recursion gives p(x | y), ln p(y) and draws for any table ln p(y_i | x_i): masks, channels,
confidences.

All is in natural logarithms and float64. Places that do not exist are skipped, so that those that
exist form the row, wherever the padding is.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser, valid_places
from sfumato.errors import ImpossibleError, InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes.categorical import Categorical, TokenLevel

__all__ = ["MarkovChain"]


@dataclass(frozen=True, eq=False)
class MarkovChain(TokenDenoiser):
    """A chain over K tokens; a state with several axes is read row by row.

    Args:
        process: The noise that its states carry.
        initial: p₁, ``[K]``.
        transition: A, ``[K, K]``, from row to column.

    Raises:
        InvalidOptionError: If rows are not distributions over the process's tokens.
    """

    process: Categorical
    initial: Float[Tensor, " states"]
    transition: Float[Tensor, "rows columns"]

    def __post_init__(self) -> None:
        K = self.process.tokens
        for name, shape in (("initial", (K,)), ("transition", (K, K))):
            table = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            rows = table.sum(dim=-1)
            if table.shape != shape or table.min() < 0 or (rows - 1).abs().max() > 1e-6:
                raise InvalidOptionError(
                    name, f"no distributions over the {K} tokens of the process",
                    f"give shape {shape} with entries from 0 and rows that sum to 1",
                )  # fmt: skip
            object.__setattr__(self, name, table / rows.unsqueeze(-1))

    def __call__(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition = None
    ) -> Beliefs:
        sites = self.process.log_likelihood(x_t, t)
        return Beliefs(self.posterior(sites, valid_places(x_t, condition))[0])

    def posterior(
        self, sites: Float[Tensor, "batch *x tokens"], valid: Bool[Tensor, "batch *x"] | None = None
    ) -> tuple[Float[Tensor, "batch *x tokens"], Float[Tensor, " batch"]]:
        """ln p(x_i | y) of every place, and ln p(y).

        Where no row agrees with y (ln p(y) = −∞) a place believes its own evidence alone.

        Args:
            sites: ln p(y_i | x_i = v).
            valid: Places that exist.
        """
        rows, exist = flat(sites, valid)
        A = self.transition.log().to(rows.device)
        predicted, filtered = self.filter(rows, exist)
        behind = torch.zeros_like(rows[:, 0])
        marginals = torch.empty_like(rows)
        for i in range(rows.shape[1] - 1, -1, -1):
            marginals[:, i] = filtered[:, i] + behind
            seen = torch.logsumexp(A + (rows[:, i] + behind).unsqueeze(1), dim=-1)
            behind = torch.where(exist[:, i, None], seen, behind)
        log_evidence = evidence(predicted, filtered, exist)
        return normalised(marginals, rows).reshape(sites.shape), log_evidence

    def posterior_draw(
        self,
        sites: Float[Tensor, "batch *x tokens"],
        streams: Streams,
        valid: Bool[Tensor, "batch *x"] | None = None,
    ) -> Int[Tensor, "batch *x"]:
        """A draw from p(x | y): filter forwards, draw backwards; 0 at places that do not exist.

        Raises:
            ImpossibleError: If no row agrees with ``sites``; names the item.
        """
        rows, exist = flat(sites, valid)
        A = self.transition.log().to(rows.device)
        predicted, filtered = self.filter(rows, exist)
        total = evidence(predicted, filtered, exist)
        if not bool(torch.isfinite(total).all()):
            item = int((~torch.isfinite(total)).nonzero()[0])
            raise ImpossibleError("evidence", f"in item {item}", "check its tables of likelihoods")
        x = torch.zeros(rows.shape[:2], dtype=torch.long, device=rows.device)
        ahead = torch.zeros_like(rows[:, 0])
        for i in range(rows.shape[1] - 1, -1, -1):
            token = draws.categorical(filtered[:, i] + ahead, streams)
            x[:, i] = torch.where(exist[:, i], token, 0)
            ahead = torch.where(exist[:, i, None], A.T[token], ahead)
        return x.reshape(sites.shape[:-1])

    def log_prob(
        self, x: Int[Tensor, "batch *x"], valid: Bool[Tensor, "batch *x"] | None = None
    ) -> Float[Tensor, " batch"]:
        """ln p(x) of whole rows."""
        sites = torch.full((*x.shape, self.process.tokens), -torch.inf, dtype=torch.float64)
        sites = sites.to(x.device).scatter_(-1, x.clamp(0, sites.shape[-1] - 1).unsqueeze(-1), 0.0)
        rows, exist = flat(sites, valid)
        return evidence(*self.filter(rows, exist), exist)

    def draw(self, shape: tuple[int, ...], streams: Streams) -> Int[Tensor, "batch *x"]:
        """Rows from p, ``shape`` with batch axis."""
        return self.posterior_draw(torch.zeros(*shape, self.process.tokens).double(), streams)

    def entropy(self, length: int) -> float:
        """Entropy of rows of ``length`` tokens, in nats."""
        p, total = self.initial, torch.special.entr(self.initial).sum()
        each = torch.special.entr(self.transition).sum(dim=1)
        for _ in range(length - 1):
            total = total + p @ each
            p = p @ self.transition
        return float(total)

    def filter(self, rows: Tensor, exist: Tensor) -> tuple[Tensor, Tensor]:
        """Ln p(x_i, y before i) and ln p(x_i, y up to i), ``[batch, length, K]`` each."""
        A = self.transition.log().to(rows.device)
        predicted, filtered = torch.empty_like(rows), torch.empty_like(rows)
        coming = self.initial.log().to(rows).expand(len(rows), -1)
        for i in range(rows.shape[1]):
            predicted[:, i] = coming
            filtered[:, i] = coming + rows[:, i]
            going = torch.logsumexp(filtered[:, i].unsqueeze(-1) + A, dim=1)
            coming = torch.where(exist[:, i, None], going, coming)
        return predicted, filtered


def flat(sites: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sites as rows ``[batch, length, K]`` in float64, and which of their places exist."""
    rows = sites.double().reshape(len(sites), -1, sites.shape[-1])
    if valid is None:
        return rows, torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
    exist = valid.to(rows.device).reshape(len(rows), -1)
    return torch.where(exist.unsqueeze(-1), rows, 0.0), exist


def normalised(log_marginals: Tensor, rows: Tensor) -> Tensor:
    """Distributions over the last axis; those of ``rows`` where there are none."""
    possible = torch.isfinite(log_marginals).any(dim=-1, keepdim=True)
    return torch.where(possible, log_marginals, rows).log_softmax(dim=-1)


def evidence(predicted: Tensor, filtered: Tensor, exist: Tensor) -> Tensor:
    """Ln p(y): the sum of what was filtered at the last place that exists."""
    last = exist.shape[1] - 1 - exist.flip(1).int().argmax(dim=1)
    found = filtered[torch.arange(len(filtered), device=filtered.device), last]
    return torch.where(exist.any(dim=1), torch.logsumexp(found, dim=-1), 0.0)
