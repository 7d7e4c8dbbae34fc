"""What a machine allows at all: whether anything of a length, how much, and which lengths."""

from __future__ import annotations

import torch

from sfumato.errors import ImpossibleError
from sfumato.factors.automata import Deterministic
from sfumato.factors.base import Machine
from sfumato.factors.messages import Tilted

__all__ = ["count", "is_empty", "lengths", "require"]


def is_empty(machine: Machine, places: int) -> bool:
    """Whether no row of this many places has positive weight."""
    anything = torch.zeros(1, places, machine.tokens, dtype=torch.float64)
    return not bool(Tilted(machine, anything).possible)


def count(machine: Deterministic, places: int) -> int:
    """How many rows of this many places belong to the language; exact, however large."""
    sizes = torch.bincount(machine.classes, minlength=machine.kinds).tolist()
    edges = machine.edges
    steps = list(
        zip(edges.source.tolist(), edges.reading.tolist(), edges.target.tolist(), strict=True)
    )
    ways = [int(state == machine.start) for state in range(machine.states)]
    for _ in range(places):
        after = [0] * machine.states
        for source, reading, target in steps:
            after[target] += ways[source] * sizes[reading]
        ways = after
    return sum(
        way for way, accepted in zip(ways, machine.accepting.tolist(), strict=True) if accepted
    )


def lengths(machine: Machine, most: int) -> list[int]:
    """Which numbers of places up to ``most`` have a row of positive weight.

    For machines that fit any number of places.
    """
    ahead = machine.initial.unsqueeze(0)
    anything = torch.zeros(1, machine.tokens, dtype=torch.float64)
    found = []
    for places in range(most + 1):
        if bool((ahead + machine.final > -torch.inf).any()):
            found.append(places)
        ahead = machine.forward(places, ahead, anything)
        ahead = torch.where(ahead > -torch.inf, 0.0, ahead)
    return found


def require(machine: Machine, places: int) -> None:
    """Refuses an empty language before anything is sampled.

    Raises:
        ImpossibleError: If no row of this many places has positive weight; names the nearest
            numbers of places that have one.
    """
    if not is_empty(machine, places):
        return
    found = [] if machine.places is not None else lengths(machine, 2 * places + 64)
    near = [[n for n in found if n < places][-1:], [n for n in found if n > places][:1]]
    known = " or ".join(str(n) for side in near for n in side)
    raise ImpossibleError(
        str(machine), f"with {places} places",
        f"choose {known} places" if known else "change it, or combine fewer constraints",
    )  # fmt: skip
