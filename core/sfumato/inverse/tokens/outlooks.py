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

__all__ = ["Outlook"]


@dataclass(frozen=True, eq=False)
class Outlook:
    """Beliefs times sites, and what a machine makes of them.

    Args:
        log_q: ln q_i(v) ℓ_i(v), ``[rows, *x, tokens]``, float64; need not be normalised.
        machine: φ, for rows of one axis.
        ahead: With a machine: ln of the weight of all that may come after each edge between places.
    """

    log_q: Float[Tensor, "rows *x tokens"]
    machine: Machine | None = None
    ahead: Float[Tensor, "rows edges states"] | None = None

    @classmethod
    def of(cls, log_q: Float[Tensor, "rows *x tokens"], machine: Machine | None) -> Outlook:
        """Filters backwards if there is a machine."""
        return cls(log_q, machine, None if machine is None else backwards(machine, log_q))

    @property
    def log_partition(self) -> Float[Tensor, " rows"]:
        """ln Z(q)."""
        if self.machine is None or self.ahead is None:
            return self.log_q.logsumexp(dim=-1).flatten(1).sum(dim=1)
        return (self.machine.initial.to(self.log_q.device) + self.ahead[:, 0]).logsumexp(dim=1)

    @property
    def marginals(self) -> Float[Tensor, "rows *x tokens"]:
        """ln p̂_i(v), normalised; −∞ everywhere at a place where nothing agrees."""
        log_p = self.log_q
        if self.machine is not None and self.ahead is not None:
            log_a, tilts = self.start(len(log_p)), []
            for place in range(log_p.shape[1]):
                tilts.append(self.machine.tilt(place, log_a, self.ahead[:, place + 1]))
                log_a = self.machine.forward(place, log_a, log_p[:, place])
            log_p = log_p + torch.stack(tilts, dim=1)
        return normalised(log_p)

    def select(self, index: Int[Tensor, " n"]) -> Outlook:
        """Some of the rows, without filtering again."""
        ahead = None if self.ahead is None else self.ahead[index]
        return Outlook(self.log_q[index], self.machine, ahead)

    def draw(
        self, u: Float[Tensor, "rows *x"], places: Bool[Tensor, "rows *x"]
    ) -> Int[Tensor, "rows *x"]:
        """x̂ at some places; what it holds at others means nothing without a machine.

        Args:
            u: Uniform numbers in [0, 1), independent between the places of a row.
            places: Which are wanted. If it is one per row, it is drawn from its marginal, so that
                tokens follow the order of u.
        """
        if self.machine is None or self.ahead is None:
            x = torch.zeros_like(u, dtype=torch.long)
            x[places] = inverted(self.log_q[places], u[places])
            return x
        if bool((places.sum(dim=1) == 1).all()):
            return inverted(self.marginals, u)
        log_a, tokens = self.start(len(self.log_q)), []
        for place in range(self.log_q.shape[1]):
            tilt = self.machine.tilt(place, log_a, self.ahead[:, place + 1])
            token = inverted(tilt + self.log_q[:, place], u[:, place])
            log_a = self.machine.advance(place, log_a, token)
            tokens.append(token)
        return torch.stack(tokens, dim=1)

    def start(self, rows: int) -> Float[Tensor, "rows states"]:
        """ln of the machine's initial weights."""
        assert self.machine is not None
        return self.machine.initial.to(self.log_q.device).expand(rows, -1)


def backwards(
    machine: Machine, log_q: Float[Tensor, "rows places tokens"]
) -> Float[Tensor, "rows edges states"]:
    """ln of what may come after each of the L + 1 edges between places, summed over it."""
    ahead = machine.final.to(log_q.device).expand(len(log_q), -1)
    edges = [ahead]
    for place in range(log_q.shape[1] - 1, -1, -1):
        ahead = machine.backward(place, ahead, log_q[:, place])
        edges.append(ahead)
    return torch.stack(edges[::-1], dim=1)


def inverted(log_p: Float[Tensor, "*x tokens"], u: Float[Tensor, "*x"]) -> Int[Tensor, "*x"]:
    """The tokens that uniform numbers fall on; any where nothing agrees."""
    top = log_p.amax(dim=-1, keepdim=True)
    return draws.invert((log_p - torch.where(torch.isfinite(top), top, 0.0)).exp(), u)


def normalised(log_p: Float[Tensor, "rows *x tokens"]) -> Float[Tensor, "rows *x tokens"]:
    """Sums to 1 over tokens; all −∞ stays all −∞."""
    mass = log_p.logsumexp(dim=-1, keepdim=True)
    return torch.where(torch.isfinite(mass), log_p - mass, -torch.inf)
