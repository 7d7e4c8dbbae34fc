"""Several machines at once: the product of their weights.

Machines of few states are joined into one, of which only the pairs of states that can be reached
are kept. Weights of single places are added to the beliefs. A machine that changes from place to
place, as a channel of edits does, is paired with the others: its own rule for a step is used once
for each class of tokens that the others tell apart, for all of their states together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.factors.automata import Automaton, Deterministic, Edged, Edges
from sfumato.factors.base import Arcs, Machine
from sfumato.factors.channels import Memoryless
from sfumato.factors.logs import group
from sfumato.factors.tables import LARGEST, too_large

__all__ = ["Pair", "Sited", "product"]


def product(*machines: Machine) -> Machine:
    """The machine whose weight is the product of the given ones.

    Raises:
        InvalidOptionError: If none is given, or their alphabets or numbers of places differ.
        UnsupportedError: If two of them are neither automata nor memoryless.
    """
    for what, sizes in (
        ("alphabets", {m.tokens for m in machines}),
        ("numbers of places", {m.places for m in machines} - {None}),
    ):
        if not machines or len(sizes) > 1:
            raise InvalidOptionError(
                "product of machines",
                f"{what} {sorted(sizes, key=str)}",
                "give machines that agree",
            )
    automata = [m for m in machines if isinstance(m, Edged)]
    tables = [m for m in machines if isinstance(m, Memoryless)]
    others = [m for m in machines if not isinstance(m, Edged | Memoryless)]
    if len(others) > 1:
        raise UnsupportedError(
            "a product", "at most one machine that is neither automaton nor memoryless",
            f"given {', '.join(map(str, others))}",
        )  # fmt: skip
    few = [reduce(join, automata)] if automata else []
    core = [Pair(others[0], few[0])] if others and few else [*others, *few]
    if not tables:
        return core[0]
    weights = torch.stack([m.log_weights for m in tables]).sum(dim=0)
    table = Memoryless(weights, " and ".join(map(str, tables)))
    return Sited(core[0], table) if core else table


def join(left: Edged, right: Edged) -> Edged:
    """Both at once, in the states that can be reached."""
    if isinstance(left, Deterministic) and isinstance(right, Deterministic):
        return left & right
    pairs, classes = torch.unique(
        torch.stack([left.classes, right.classes]), dim=1, return_inverse=True
    )
    a, b, width = left.edges, right.edges, right.states
    found: list[tuple[Tensor, ...]] = []
    for kind, (one, two) in enumerate(pairs.T.tolist()):
        i, j = (a.reading == one).nonzero()[:, 0], (b.reading == two).nonzero()[:, 0]
        i, j = i.repeat_interleave(len(j)), j.repeat(len(i))
        found.append((
            a.source[i] * width + b.source[j], torch.full_like(i, kind),
            a.target[i] * width + b.target[j], a.log_weight[i] + b.log_weight[j],
        ))  # fmt: skip
    edges = Edges(*(torch.cat(part) for part in zip(*found, strict=True)))
    initial = (left.initial.unsqueeze(1) + right.initial).flatten()
    final = (left.final.unsqueeze(1) + right.final).flatten()
    name = f"{left} and {right}"
    return reached(Automaton(initial, final, classes, edges, name))


def reached(machine: Automaton) -> Automaton:
    """Only the states on some path from an initial one.

    Raises:
        InvalidOptionError: If there are too many.
    """
    seen, edges = machine.initial > -torch.inf, machine.edges
    while True:
        more = seen.clone()
        more[edges.target[seen[edges.source]]] = True
        if torch.equal(more, seen):
            break
        seen = more
    if int(seen.sum()) > LARGEST:
        raise too_large(machine.name)
    numbers, kept = seen.cumsum(0) - 1, seen[edges.source]
    few = Edges(
        numbers[edges.source[kept]], edges.reading[kept],
        numbers[edges.target[kept]], edges.log_weight[kept],
    )  # fmt: skip
    return Automaton(machine.initial[seen], machine.final[seen], machine.classes, few, machine.name)


@dataclass(frozen=True, eq=False)
class Sited(Machine):
    """A machine with weights of each place by itself.

    Args:
        inner: The machine.
        table: The weights.
    """

    inner: Machine
    table: Memoryless

    @property
    def tokens(self) -> int:  # type: ignore[override]
        return self.inner.tokens

    @property
    def states(self) -> int:  # type: ignore[override]
        return self.inner.states

    @property
    def places(self) -> int | None:  # type: ignore[override]
        return self.table.places

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"{self.inner} and {self.table}"

    @property
    def initial(self) -> Tensor:
        return self.inner.initial

    @property
    def final(self) -> Tensor:
        return self.inner.final

    def own(self, place: int, like: Tensor) -> Tensor:
        """The weights of the tokens at a place."""
        return self.table.log_weights[place].to(like.device)

    def forward(self, place: int, log_a: Tensor, log_q: Tensor) -> Tensor:
        return self.inner.forward(place, log_a, log_q + self.own(place, log_q))

    def backward(self, place: int, log_b: Tensor, log_q: Tensor) -> Tensor:
        return self.inner.backward(place, log_b, log_q + self.own(place, log_q))

    def tilt(self, place: int, log_a: Tensor, log_b: Tensor) -> Tensor:
        return self.inner.tilt(place, log_a, log_b) + self.own(place, log_a)

    def advance(self, place: int, log_a: Tensor, token: Tensor) -> Tensor:
        led = self.inner.advance(place, log_a, token)
        return led + self.own(place, log_a)[token].unsqueeze(1)

    def arcs(self, place: int, states: Int[Tensor, " n"]) -> Arcs:
        arcs = self.inner.arcs(place, states)
        weight = arcs.log_weight + self.table.log_weights[place][arcs.token]
        kept = weight > -torch.inf
        return Arcs(arcs.source[kept], arcs.token[kept], arcs.target[kept], weight[kept])


@dataclass(frozen=True, eq=False)
class Pair(Machine):
    """Any machine and one that is a list of transitions. State (f, w) has number f · wide + w.

    Args:
        wide: The one that may have many states and change from place to place.
        few: The other.
    """

    wide: Machine
    few: Edged
    tokens: int = field(init=False)
    states: int = field(init=False)
    places: int | None = field(init=False)
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", self.wide.tokens)
        object.__setattr__(self, "states", self.wide.states * self.few.states)
        object.__setattr__(self, "places", self.wide.places)
        object.__setattr__(self, "name", f"{self.wide} and {self.few}")

    @property
    def initial(self) -> Tensor:
        return (self.few.initial.unsqueeze(1) + self.wide.initial).flatten()

    @property
    def final(self) -> Tensor:
        return (self.few.final.unsqueeze(1) + self.wide.final).flatten()

    def split(self, log_s: Tensor) -> Tensor:
        """Messages with the states of both on axes of their own."""
        return log_s.reshape(len(log_s), self.few.states, self.wide.states)

    def only(self, log_q: Tensor, kind: int) -> Tensor:
        """Beliefs in the tokens of one class."""
        return log_q.masked_fill((self.few.classes != kind).to(log_q.device), -torch.inf)

    def moved(self, log_s: Tensor, kind: int, *, back: bool = False) -> Tensor:
        """Carries the state of ``few`` along its transitions for one class of tokens."""
        edges = self.few.edges.to(log_s.device)
        chosen = edges.reading == kind
        source, target = edges.source[chosen], edges.target[chosen]
        source, target = (target, source) if back else (source, target)
        wide = alive(log_s.permute(2, 0, 1).flatten(1)).nonzero()[:, 0]
        taken = log_s[..., wide][:, source] + edges.log_weight[chosen].unsqueeze(-1)
        led = group(taken.transpose(1, 2).flatten(0, 1), target, self.few.states)
        out = torch.full_like(log_s, -torch.inf)
        out[..., wide] = led.reshape(len(log_s), -1, self.few.states).transpose(1, 2)
        return out

    def forward(self, place: int, log_a: Tensor, log_q: Tensor) -> Tensor:
        a, parts = self.split(log_a), []
        item, few = alive(a).nonzero(as_tuple=True)
        for kind in range(self.few.kinds):
            led = torch.full_like(a, -torch.inf)
            led[item, few] = self.wide.forward(place, a[item, few], self.only(log_q, kind)[item])
            parts.append(self.moved(led, kind))
        return torch.logsumexp(torch.stack(parts), dim=0).flatten(1)

    def backward(self, place: int, log_b: Tensor, log_q: Tensor) -> Tensor:
        b, parts = self.split(log_b), []
        for kind in range(self.few.kinds):
            after = self.moved(b, kind, back=True)
            item, few = alive(after).nonzero(as_tuple=True)
            after[item, few] = self.wide.backward(
                place, after[item, few], self.only(log_q, kind)[item]
            )
            parts.append(after)
        return torch.logsumexp(torch.stack(parts), dim=0).reshape(log_b.shape)

    def tilt(self, place: int, log_a: Tensor, log_b: Tensor) -> Tensor:
        a, b = self.split(log_a), self.split(log_b)
        out = log_a.new_full((*a.shape[:2], self.tokens), -torch.inf)
        for kind in range(self.few.kinds):
            after = self.moved(b, kind, back=True)
            item, few = (alive(a) & alive(after)).nonzero(as_tuple=True)
            tokens = (self.few.classes == kind).nonzero()[:, 0]
            tilts = self.wide.tilt(place, a[item, few], after[item, few])
            out[item.unsqueeze(1), few.unsqueeze(1), tokens] = tilts[:, tokens]
        return torch.logsumexp(out, dim=1)

    def advance(self, place: int, log_a: Tensor, token: Tensor) -> Tensor:
        a = self.split(log_a)
        rows = self.wide.advance(place, a.flatten(0, 1), token.repeat_interleave(a.shape[1]))
        kinds, out = self.few.classes.to(token.device)[token], torch.full_like(a, -torch.inf)
        for kind in set(kinds.tolist()):
            items = kinds == kind
            out[items] = self.moved(rows.reshape(a.shape)[items], kind)
        return out.flatten(1)

    def arcs(self, place: int, states: Int[Tensor, " n"]) -> Arcs:
        arcs = self.wide.arcs(place, states % self.wide.states)
        edges, few = self.few.edges, (states // self.wide.states)[arcs.source]
        both = (few.unsqueeze(1) == edges.source) & (
            self.few.classes[arcs.token].unsqueeze(1) == edges.reading
        )
        arc, edge = both.nonzero(as_tuple=True)
        return Arcs(
            arcs.source[arc],
            arcs.token[arc],
            edges.target[edge] * self.wide.states + arcs.target[arc],
            arcs.log_weight[arc] + edges.log_weight[edge],
        )


def alive(log_s: Float[Tensor, "*rows n"]) -> Bool[Tensor, "*rows"]:
    """Which rows hold a state of positive weight; the others need no step."""
    return (log_s > -torch.inf).any(dim=-1)
