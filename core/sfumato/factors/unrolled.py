"""A machine for one number of places, with only the states that each place can be in.

A length, or a count that must be reached, has a state for each number; but before place i most of
them cannot be, or lead nowhere in the places that are left. What stays is often a hundredth.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.errors import ImpossibleError
from sfumato.factors.automata import Edged, Edges, Listed

__all__ = ["Unrolled", "unroll"]


@dataclass(frozen=True, eq=False)
class Unrolled(Listed):
    """Transitions for each place between states that are numbered anew there.

    Args:
        log_initial: ln of the weight of starting in each state of the first place.
        log_final: ln of the weight of ending in each state after the last.
        classes: Class of each token, numbered from 0.
        steps: Transitions at each place.
        name: What error messages call it.
    """

    log_initial: Float[Tensor, " states"]
    log_final: Float[Tensor, " states"]
    classes: Int[Tensor, " tokens"]
    steps: tuple[Edges, ...]
    name: str = "automaton"
    tokens: int = field(init=False)
    states: int = field(init=False)
    places: int | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", len(self.classes))
        object.__setattr__(self, "states", len(self.log_initial))
        object.__setattr__(self, "places", len(self.steps))

    @property
    def initial(self) -> Tensor:
        return self.log_initial

    @property
    def final(self) -> Tensor:
        return self.log_final

    def edges_at(self, place: int) -> Edges:
        return self.steps[place]


def unroll(machine: Edged, places: int) -> Unrolled:
    """The same weights of rows with this many places, from as few states as they need.

    Raises:
        ImpossibleError: If no such row has positive weight.
    """
    alive = living(machine, places)
    if not bool(alive[0].any()):
        raise ImpossibleError(str(machine), f"with {places} places", "change it or their number")
    numbers = alive.cumsum(dim=1) - 1
    edges, steps = machine.edges, []
    for place in range(places):
        kept = alive[place, edges.source] & alive[place + 1, edges.target]
        source, target = numbers[place, edges.source[kept]], numbers[place + 1, edges.target[kept]]
        steps.append(Edges(source, edges.reading[kept], target, edges.log_weight[kept]))
    size = int(alive.sum(dim=1).max())
    initial, final = padded(machine.initial[alive[0]], size), padded(machine.final[alive[-1]], size)
    return Unrolled(initial, final, machine.classes, tuple(steps), machine.name)


def padded(weights: Float[Tensor, " n"], size: int) -> Float[Tensor, " size"]:
    """The weights, and −∞ for states that do not exist."""
    return torch.cat([weights, weights.new_full((size - len(weights),), -torch.inf)])


def living(machine: Edged, places: int) -> Bool[Tensor, "edges states"]:
    """Which states lie on a path of this many places, before each place and after the last."""
    source, target = machine.edges.source, machine.edges.target
    reached = [machine.initial > -torch.inf]
    for _ in range(places):
        after = torch.zeros_like(reached[-1])
        after[target[reached[-1][source]]] = True
        reached.append(after)
    alive = [reached[-1] & (machine.final > -torch.inf)]
    for before in reversed(reached[:-1]):
        leading = torch.zeros_like(before)
        leading[source[alive[-1][target]]] = True
        alive.append(before & leading)
    return torch.stack(alive[::-1])
