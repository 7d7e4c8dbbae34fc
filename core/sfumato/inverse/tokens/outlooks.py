"""What the evidence makes of independent beliefs.

Given beliefs q_i(v) about every place, the sites ℓ and the machine φ make of them

    Z(q) = Σ_x φ(x) Π_i q_i(x_i) ℓ_i(x_i)            what is expected of y: a twist
    x̂ ~ φ(x) Π_i q_i(x_i) ℓ_i(x_i) / Z(q)            a draw of all places together
    p̂_i(v) = Σ_{x: x_i = v} … / Z(q)                 its marginals.

Without a machine all of this is place by place. With one it is a filter that runs backwards and a
draw that runs forwards (Rabiner, 1989), exact for these beliefs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.factors.base import Machine
from sfumato.factors.messages import Tilted

__all__ = ["Outlook"]


@dataclass(frozen=True, eq=False)
class Outlook:
    """Beliefs times sites, and what a machine makes of them.

    Args:
        log_q: ln q_i(v) ℓ_i(v), ``[rows, *x, tokens]``, float64; need not be normalised.
        tilted: The same with φ, for rows of one axis.
    """

    log_q: Float[Tensor, "rows *x tokens"]
    tilted: Tilted | None = None

    @classmethod
    def of(cls, log_q: Float[Tensor, "rows *x tokens"], machine: Machine | None) -> Outlook:
        """What a machine, if there is one, makes of beliefs times sites."""
        return cls(log_q, None if machine is None else Tilted(machine, log_q))

    @property
    def log_partition(self) -> Float[Tensor, " rows"]:
        """ln Z(q)."""
        if self.tilted is not None:
            return self.tilted.log_partition
        return self.log_q.logsumexp(dim=-1).flatten(1).sum(dim=1)

    @property
    def marginals(self) -> Float[Tensor, "rows *x tokens"]:
        """ln p̂_i(v), normalised; −∞ everywhere at a place where nothing agrees."""
        log_p = self.log_q if self.tilted is None else self.log_q + self.tilted.twists()
        mass = log_p.logsumexp(dim=-1, keepdim=True)
        return torch.where(torch.isfinite(mass), log_p - mass, -torch.inf)

    def select(self, index: Int[Tensor, " n"]) -> Outlook:
        """Some of the rows, without filtering again."""
        return Outlook(
            self.log_q[index], None if self.tilted is None else self.tilted.select(index)
        )

    def draw(
        self, u: Float[Tensor, "rows *x"], places: Bool[Tensor, "rows *x"]
    ) -> Int[Tensor, "rows *x"]:
        """x̂ at some places; what it holds at others means nothing without a machine.

        Args:
            u: Uniform numbers in [0, 1), independent between the places of a row.
            places: Which are wanted. If it is one per row, it is drawn from its marginal, so that
                tokens follow the order of u.
        """
        if self.tilted is None:
            x = torch.zeros_like(u, dtype=torch.long)
            x[places] = draws.invert_logs(self.log_q[places], u[places])
            return x
        if bool((places.sum(dim=1) == 1).all()):
            return draws.invert_logs(self.marginals, u)
        return self.tilted.draw(u)
