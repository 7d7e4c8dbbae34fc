"""Exact sums and draws over the paths of a machine.

Beliefs q_i about the tokens of a row, each by itself, and a machine φ give the tilted distribution

    p(x) = φ(x) Π_i q_i(x_i) / Z.

With the backward messages b_i(s), the weight of all that can follow state s before place i,

    b_L = final,    b_i(s) = Σ_{v,s'} q_i(v) f_i(s, v, s') b_{i+1}(s'),

Z = Σ_s initial(s) b_0(s). A draw goes forwards: x_i ∝ q_i(v) Σ_{s,s'} a_i(s) f_i(s, v, s')
b_{i+1}(s'), where a_i is the weight of the states given the tokens drawn so far. The states are
summed over, not drawn, so a machine with many paths for one x costs nothing in variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.errors import ImpossibleError, NotFiniteError, ShapeError
from sfumato.factors.base import Machine
from sfumato.noise import Streams

__all__ = ["Tilted", "best", "log_partition", "marginals", "sample", "weigh"]


@dataclass(frozen=True, eq=False)
class Tilted:
    """Independent beliefs tilted by a machine.

    Nothing is raised for items where Z = 0 unless ``require`` is called: their log-partition is −∞
    and what is drawn for them means nothing.

    Args:
        machine: φ.
        log_q: ln q_i(v); need not be normalised. −∞ for a token that cannot be.

    Raises:
        ShapeError: If the machine has another alphabet or is for another number of places.
        NotFiniteError: If a belief is NaN or +∞.
    """

    machine: Machine
    log_q: Float[Tensor, "batch length tokens"]

    def __post_init__(self) -> None:
        fits(self.machine, self.log_q)
        object.__setattr__(self, "log_q", self.log_q.double())

    @property
    def length(self) -> int:
        """L."""
        return self.log_q.shape[1]

    @cached_property
    def log_b(self) -> Float[Tensor, "places batch states"]:
        """Backward messages before each place, and after the last."""
        rows = [end_of(self.machine, self.log_q)]
        for place in reversed(range(self.length)):
            rows.append(self.machine.backward(place, rows[-1], self.log_q[:, place]))
        return torch.stack(rows[::-1])

    @cached_property
    def log_a(self) -> Float[Tensor, "places batch states"]:
        """Forward messages before each place, and after the last."""
        rows = [start_of(self.machine, self.log_q)]
        for place in range(self.length):
            rows.append(self.machine.forward(place, rows[-1], self.log_q[:, place]))
        return torch.stack(rows)

    @cached_property
    def log_partition(self) -> Float[Tensor, " batch"]:
        """ln Z."""
        return torch.logsumexp(start_of(self.machine, self.log_q) + self.log_b[0], dim=1)

    @property
    def possible(self) -> Bool[Tensor, " batch"]:
        """Which items have Z > 0."""
        return self.log_partition > -torch.inf

    def require(self) -> Tilted:
        """Returns itself.

        Raises:
            ImpossibleError: If some item has Z = 0; names the first such item and its first place
                that no path can pass.
        """
        if bool(self.possible.all()):
            return self
        item = int((~self.possible).nonzero()[0, 0])
        alive = (self.log_a[1:, item] > -torch.inf).any(dim=1)
        dead = (~alive).nonzero()
        where = f"at place {int(dead[0, 0])}" if len(dead) else f"with {self.length} places"
        raise ImpossibleError(
            str(self.machine), f"{where} (item {item}, places counted from 0)",
            "change the constraint, the number of places or what is known there",
        )  # fmt: skip

    def twists(self) -> Float[Tensor, "batch length tokens"]:
        """ln Σ_{s,s'} a_i(s) f_i(s, v, s') b_{i+1}(s'): how likely the rest makes each token."""
        rows = [
            self.machine.tilt(place, self.log_a[place], self.log_b[place + 1])
            for place in range(self.length)
        ]
        return torch.stack(rows, dim=1) if rows else torch.zeros_like(self.log_q)

    def marginals(self) -> Float[Tensor, "batch length tokens"]:
        """ln p(x_i = v)."""
        return (self.log_q + self.twists()).log_softmax(dim=-1)

    def select(self, index: Int[Tensor, " n"]) -> Tilted:
        """Some of the items, without filtering again."""
        chosen = Tilted(self.machine, self.log_q[index])
        chosen.__dict__["log_b"] = self.log_b[:, index]
        return chosen

    def sample(self, streams: Streams) -> Int[Tensor, "batch length"]:
        """A draw of x for each item from its own stream."""
        return self.draw(draws.uniform(self.log_q[..., 0], streams))

    def draw(self, chances: Float[Tensor, "batch length"]) -> Int[Tensor, "batch length"]:
        """A draw of x for each item from numbers that are uniform in [0, 1)."""
        log_a = start_of(self.machine, self.log_q)
        x = self.log_q.new_zeros(self.log_q.shape[:2], dtype=torch.long)
        for place in range(self.length):
            twist = self.machine.tilt(place, log_a, self.log_b[place + 1])
            x[:, place] = draws.invert_logs(self.log_q[:, place] + twist, chances[:, place])
            log_a = self.machine.advance(place, log_a, x[:, place])
            log_a = log_a - log_a.amax(dim=1, keepdim=True).clamp(min=-1e300)
        return x


def log_partition(
    machine: Machine, log_q: Float[Tensor, "batch length tokens"]
) -> Float[Tensor, " batch"]:
    """ln Σ_x φ(x) Π q_i(x_i); −∞ where nothing agrees."""
    return Tilted(machine, log_q).log_partition


def marginals(
    machine: Machine, log_q: Float[Tensor, "batch length tokens"]
) -> Float[Tensor, "batch length tokens"]:
    """ln p(x_i = v) under the tilted distribution, by forward-backward.

    Raises:
        ImpossibleError: If nothing agrees.
    """
    return Tilted(machine, log_q).require().marginals()


def sample(
    machine: Machine, log_q: Float[Tensor, "batch length tokens"], streams: Streams
) -> Int[Tensor, "batch length"]:
    """An exact draw from the tilted distribution for each item.

    Raises:
        ImpossibleError: If nothing agrees.
    """
    return Tilted(machine, log_q).require().sample(streams)


def weigh(machine: Machine, x: Int[Tensor, "batch length"]) -> Float[Tensor, " batch"]:
    """ln φ(x) of whole sequences."""
    log_a = machine.initial.to(x.device).expand(len(x), -1)
    for place in range(x.shape[1]):
        log_a = machine.advance(place, log_a, x[:, place])
    return torch.logsumexp(log_a + machine.final.to(x.device), dim=1)


def best(
    machine: Machine, log_q: Float[Tensor, "batch length tokens"]
) -> tuple[Int[Tensor, "batch length"], Float[Tensor, " batch"]]:
    """The tokens of the single best path, and the logarithm of its weight (Viterbi).

    Where each x has one path, as in a deterministic machine, this is the most probable x. Where
    it has many, as in a channel of edits, the best path need not belong to the most probable x,
    which no method finds in polynomial time.

    Raises:
        ImpossibleError: If nothing agrees.
    """
    Tilted(machine, log_q).require()
    device, every = log_q.device, torch.arange(machine.states)
    log_q = log_q.double().cpu()
    rows = [start_of(machine, log_q)]
    for place in range(log_q.shape[1]):
        arcs = machine.arcs(place, every)
        paths = rows[-1][:, arcs.source] + log_q[:, place, arcs.token] + arcs.log_weight
        reached = torch.full_like(rows[-1], -torch.inf)
        rows.append(reached.scatter_reduce_(1, arcs.target.expand_as(paths), paths, "amax"))
    weight, state = (rows[-1] + machine.final).max(dim=1)
    x = log_q.new_zeros(log_q.shape[:2], dtype=torch.long)
    for place in reversed(range(log_q.shape[1])):
        arcs = machine.arcs(place, every)
        paths = rows[place][:, arcs.source] + log_q[:, place, arcs.token] + arcs.log_weight
        chosen = paths.masked_fill(arcs.target != state.unsqueeze(1), -torch.inf).argmax(dim=1)
        x[:, place], state = arcs.token[chosen], arcs.source[chosen]
    return x.to(device), weight.to(device)


def start_of(machine: Machine, log_q: Tensor) -> Float[Tensor, "batch states"]:
    """ln a₀ for every item."""
    return machine.initial.to(log_q.device).expand(len(log_q), -1)


def end_of(machine: Machine, log_q: Tensor) -> Float[Tensor, "batch states"]:
    """ln b_L for every item."""
    return machine.final.to(log_q.device).expand(len(log_q), -1)


def fits(machine: Machine, log_q: Tensor) -> None:
    """Refuses beliefs that are not about the machine's tokens and places."""
    tokens, places = machine.tokens, machine.places
    if log_q.ndim != 3 or log_q.shape[-1] != tokens or places not in (None, log_q.shape[1]):
        length = "length" if places is None else places
        raise ShapeError(f"beliefs for {machine}", log_q.shape, f"batch×{length}×{tokens}")
    bad = int((log_q.isnan() | log_q.isposinf()).sum())
    if bad:
        raise NotFiniteError(f"beliefs for {machine}", bad, log_q.numel())
