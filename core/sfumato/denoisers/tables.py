"""The exact denoiser of any distribution that fits in a table, by enumeration.

    p(x₀,i = v | x_t) ∝ Σ_{x₀: x₀,i = v} p(x₀) Π_j q(x_t,j | x₀,j)

The table has one axis per place, so a state of n places over K tokens costs Kⁿ numbers per item:
nothing about p needs to be simple, and so everything else can be tested against it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser, valid_places
from sfumato.denoisers.markov import normalised
from sfumato.errors import ImpossibleError, ShapeError
from sfumato.noise import Streams
from sfumato.processes.categorical import Categorical, TokenLevel

__all__ = ["JointTable"]


@dataclass(frozen=True, eq=False)
class JointTable(TokenDenoiser):
    """Any distribution of n tokens.

    Places that do not exist are summed out.

    Args:
        process: The noise that its states carry.
        log_table: ln p up to a constant, ``[K, …, K]`` with n axes, in the order in which a state
            is flattened.
        shape: Shape of a state; n places in a row if not given.

    Raises:
        ShapeError: If the axes are not the tokens of the process, or not as many as places.
    """

    process: Categorical
    log_table: Float[Tensor, "..."]
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        table = torch.as_tensor(self.log_table, dtype=torch.float64)
        shape = self.shape or (table.ndim,)
        if set(table.shape) != {self.process.tokens} or math.prod(shape) != table.ndim:
            raise ShapeError(
                "table of a joint distribution", table.shape,
                f"{math.prod(shape)} axes of {self.process.tokens} tokens",
            )  # fmt: skip
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "log_table", table - torch.logsumexp(table.flatten(), dim=0))

    def __call__(
        self, x_t: Int[Tensor, "batch *x"], t: TokenLevel, condition: Condition = None
    ) -> Beliefs:
        sites = self.process.log_likelihood(x_t, t)
        return Beliefs(self.posterior(sites, valid_places(x_t, condition))[0])

    def joint(self, sites: Tensor, valid: Tensor | None) -> Float[Tensor, "batch ..."]:
        """ln p(x, y), one axis per place."""
        rows = sites.double().reshape(len(sites), -1, sites.shape[-1])
        if valid is not None:
            rows = torch.where(valid.reshape(len(rows), -1, 1), rows, 0.0)
        n = self.log_table.ndim
        total = self.log_table.to(rows.device).unsqueeze(0)
        for i in range(n):
            total = total + rows[:, i].reshape(len(rows), *(1,) * i, -1, *(1,) * (n - 1 - i))
        return total

    def posterior(
        self, sites: Float[Tensor, "batch *x tokens"], valid: Bool[Tensor, "batch *x"] | None = None
    ) -> tuple[Float[Tensor, "batch *x tokens"], Float[Tensor, " batch"]]:
        """ln p(x_i | y) of every place, and ln p(y).

        Where no state agrees with y (ln p(y) = −∞) a place believes its own evidence alone.

        Args:
            sites: ln p(y_i | x_i = v).
            valid: Places that exist.
        """
        joint = self.joint(sites, valid)
        found = []
        for axis in range(1, joint.ndim):
            first = joint.movedim(axis, 1)
            found.append(torch.logsumexp(first.reshape(*first.shape[:2], -1), dim=-1))
        marginals = torch.stack(found, dim=1)
        rows = sites.double().reshape(marginals.shape)
        log_evidence = torch.logsumexp(found[0], dim=-1)
        return normalised(marginals, rows).reshape(sites.shape), log_evidence

    def posterior_draw(
        self,
        sites: Float[Tensor, "batch *x tokens"],
        streams: Streams,
        valid: Bool[Tensor, "batch *x"] | None = None,
    ) -> Int[Tensor, "batch *x"]:
        """A draw from p(x | y).

        Raises:
            ImpossibleError: If no state agrees with ``sites``; names the item.
        """
        joint = self.joint(sites, valid).flatten(1)
        possible = torch.isfinite(joint).any(dim=1)
        if not bool(possible.all()):
            item = int((~possible).nonzero()[0])
            raise ImpossibleError("evidence", f"in item {item}", "check its tables of likelihoods")
        K, n = self.process.tokens, self.log_table.ndim
        number = draws.categorical(joint, streams)
        power = K ** torch.arange(n - 1, -1, -1, device=number.device)
        return ((number.unsqueeze(1) // power) % K).reshape(sites.shape[:-1])

    def log_prob(self, x: Int[Tensor, "batch *x"]) -> Float[Tensor, " batch"]:
        """ln p(x) of whole states."""
        return self.log_table.to(x.device)[tuple(x.flatten(1).T)]

    def draw(self, count: int, streams: Streams) -> Int[Tensor, "batch *x"]:
        """``count`` states from p."""
        blank = torch.zeros(count, *self.shape, self.process.tokens, dtype=torch.float64)
        return self.posterior_draw(blank, streams)

    @property
    def entropy(self) -> float:
        """In nats."""
        return float(torch.special.entr(self.log_table.exp()).sum())
