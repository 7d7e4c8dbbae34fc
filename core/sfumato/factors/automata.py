"""Machines given as a list of weighted transitions between a few states.

Most tokens do the same thing: all letters that a pattern does not name, say. Tokens that no
transition tells apart form a class, and a step of the messages costs

    O(K + transitions between states),    not  O(K · states).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.factors import tables
from sfumato.factors.base import Arcs, Machine, runs
from sfumato.factors.logs import group

__all__ = ["Automaton", "Deterministic", "Edged", "Edges", "Listed"]


@dataclass(frozen=True, eq=False)
class Edges:
    """Transitions between states, each for a class of tokens.

    Args:
        source: State that it leaves.
        reading: Class of tokens that it reads.
        target: State that it reaches.
        log_weight: ln f.
    """

    source: Int[Tensor, " edges"]
    reading: Int[Tensor, " edges"]
    target: Int[Tensor, " edges"]
    log_weight: Float[Tensor, " edges"]

    def to(self, device: torch.device) -> Edges:
        """The same on a device."""
        return Edges(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


class Listed(Machine):
    """A machine whose transitions are listed for each place.

    Attributes:
        classes: Class of each token, numbered from 0.
    """

    classes: Int[Tensor, " tokens"]

    @abstractmethod
    def edges_at(self, place: int) -> Edges:
        """Transitions of positive weight."""

    @cached_property
    def kinds(self) -> int:
        """How many classes of tokens there are."""
        return int(self.classes.max()) + 1

    @cached_property
    def distinct(self) -> bool:
        """Whether every token is its own class, in order."""
        return torch.equal(self.classes, torch.arange(self.tokens))

    def gathered(self, log_q: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch kinds"]:
        """ln of the belief in each class."""
        if self.distinct:
            return log_q
        return group(log_q, self.classes.to(log_q.device), self.kinds)

    def forward(self, place: int, log_a: Tensor, log_q: Tensor) -> Tensor:
        e = self.edges_at(place).to(log_a.device)
        paths = log_a[:, e.source] + self.gathered(log_q)[:, e.reading] + e.log_weight
        return group(paths, e.target, self.states)

    def backward(self, place: int, log_b: Tensor, log_q: Tensor) -> Tensor:
        e = self.edges_at(place).to(log_b.device)
        paths = log_b[:, e.target] + self.gathered(log_q)[:, e.reading] + e.log_weight
        return group(paths, e.source, self.states)

    def tilt(self, place: int, log_a: Tensor, log_b: Tensor) -> Tensor:
        e = self.edges_at(place).to(log_a.device)
        paths = log_a[:, e.source] + log_b[:, e.target] + e.log_weight
        return group(paths, e.reading, self.kinds)[:, self.classes.to(log_a.device)]

    def advance(self, place: int, log_a: Tensor, token: Tensor) -> Tensor:
        e = self.edges_at(place).to(log_a.device)
        read = self.classes.to(log_a.device)[token].unsqueeze(1) == e.reading
        paths = (log_a[:, e.source] + e.log_weight).masked_fill(~read, -torch.inf)
        return group(paths, e.target, self.states)

    def arcs(self, place: int, states: Int[Tensor, " n"]) -> Arcs:
        edges = self.edges_at(place)
        leaving = torch.bincount(edges.source, minlength=self.states)
        asked, rank = runs(leaving[states])
        edge = edges.source.argsort(stable=True)[
            (leaving.cumsum(0) - leaving)[states][asked] + rank
        ]
        sizes = torch.bincount(self.classes, minlength=self.kinds)
        which, rank = runs(sizes[edges.reading[edge]])
        asked, edge = asked[which], edge[which]
        first = (sizes.cumsum(0) - sizes)[edges.reading[edge]]
        token = self.classes.argsort(stable=True)[first + rank]
        return Arcs(asked, token, edges.target[edge], edges.log_weight[edge])


class Edged(Listed):
    """A machine that does the same at every place.

    Attributes:
        edges: Transitions of positive weight.
    """

    edges: Edges

    def edges_at(self, place: int) -> Edges:
        return self.edges


@dataclass(frozen=True, eq=False)
class Automaton(Edged):
    """A weighted machine; one x may have many paths.

    Args:
        log_initial: ln of the weight of starting in each state.
        log_final: ln of the weight of ending in each state.
        classes: Class of each token, numbered from 0.
        edges: Transitions of positive weight.
        name: What error messages call it.
    """

    log_initial: Float[Tensor, " states"]
    log_final: Float[Tensor, " states"]
    classes: Int[Tensor, " tokens"]
    edges: Edges
    name: str = "automaton"
    tokens: int = field(init=False)
    states: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", len(self.classes))
        object.__setattr__(self, "states", len(self.log_initial))

    @property
    def initial(self) -> Tensor:
        return self.log_initial

    @property
    def final(self) -> Tensor:
        return self.log_final


@dataclass(frozen=True, eq=False)
class Deterministic(Edged):
    """A set of sequences: φ(x) is 1 for members, 0 for others.

    ``a & b``, ``a | b`` and ``~a`` are intersection, union and complement; each gives the smallest
    machine of that language.

    Args:
        table: The state that follows each state and token; −1 refuses.
        accepting: In which states a sequence may end.
        start: State before the first token.
        name: What error messages call it.

    Raises:
        InvalidOptionError: If the table names states that do not exist.
    """

    table: Int[Tensor, "states tokens"]
    accepting: Bool[Tensor, " states"]
    start: int = 0
    name: str = "automaton"
    tokens: int = field(init=False)
    states: int = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.table)
        if not self.table.numel():
            raise InvalidOptionError(
                self.name, f"a table of {n} states for {self.table.shape[1]} tokens", "give both"
            )
        low, high = int(self.table.min()), int(self.table.max())
        if low < -1 or high >= n or len(self.accepting) != n or not 0 <= self.start < n:
            raise InvalidOptionError(
                self.name, f"{n} states, but state {low if low < -1 else high} or a list of another"
                " length is used", "number states from 0 and write -1 for refusal",
            )  # fmt: skip
        object.__setattr__(self, "tokens", self.table.shape[1])
        object.__setattr__(self, "states", n)

    @cached_property
    def columns(self) -> tuple[Tensor, Tensor]:
        """What each class of tokens does, [states, kinds], and the class of each token."""
        kept, classes = np.unique(self.table.numpy(), axis=1, return_inverse=True)
        return torch.from_numpy(kept), torch.from_numpy(classes.reshape(-1))

    @property
    def classes(self) -> Tensor:  # type: ignore[override]
        return self.columns[1]

    @cached_property
    def edges(self) -> Edges:  # type: ignore[override]
        source, reading = (self.columns[0] >= 0).nonzero(as_tuple=True)
        target = self.columns[0][source, reading]
        return Edges(source, reading, target, torch.zeros(len(source), dtype=torch.float64))

    @cached_property
    def initial(self) -> Tensor:
        blank = torch.full((self.states,), -torch.inf, dtype=torch.float64)
        blank[self.start] = 0.0
        return blank

    @cached_property
    def final(self) -> Tensor:
        return torch.where(self.accepting, 0.0, -torch.inf).double()

    def arcs(self, place: int, states: Int[Tensor, " n"]) -> Arcs:
        rows = self.table[states]
        source, token = (rows >= 0).nonzero(as_tuple=True)
        return Arcs(source, token, rows[source, token], torch.zeros(len(source)).double())

    def accepts(self, x: Int[Tensor, "batch length"]) -> Bool[Tensor, " batch"]:
        """Which sequences are members."""
        table = torch.cat([self.table, self.table.new_full((1, self.tokens), -1)])
        state = torch.full((len(x),), self.start)
        for place in range(x.shape[1]):
            state = table[state, x[:, place].cpu()]
        return torch.cat([self.accepting, torch.tensor([False])])[state]

    def minimal(self, name: str | None = None) -> Deterministic:
        """The smallest machine of the same language, its dead ends cut off."""
        plain = tables.Table(self.columns[0].numpy(), self.accepting.numpy(), self.start)
        return Deterministic.spread(tables.minimal(plain), self.classes, name or self.name)

    @classmethod
    def spread(cls, small: tables.Table, classes: Tensor, name: str) -> Deterministic:
        """A machine from the table over classes of tokens."""
        wide = torch.from_numpy(small.next)[:, classes]
        return cls(wide, torch.from_numpy(small.accepting), small.start, name)

    def combine(
        self, other: Deterministic, rule: Callable[..., np.ndarray], name: str
    ) -> Deterministic:
        """Both at once; ``rule`` says from both answers what is accepted."""
        if self.tokens != other.tokens:
            raise InvalidOptionError(
                name, f"one machine reads {self.tokens} tokens, the other {other.tokens}",
                "build both for the same alphabet",
            )  # fmt: skip
        both = torch.stack([self.classes, other.classes])
        pairs, classes = torch.unique(both, dim=1, return_inverse=True)
        left, right = (
            tables.Table(m.columns[0].numpy()[:, pair.numpy()], m.accepting.numpy(), m.start)
            for m, pair in zip((self, other), pairs, strict=True)
        )
        joined = tables.minimal(tables.product(left, right, rule))
        return Deterministic.spread(joined, classes, name)

    def __and__(self, other: Deterministic) -> Deterministic:
        return self.combine(other, np.logical_and, f"{self} and {other}")

    def __or__(self, other: Deterministic) -> Deterministic:
        return self.combine(other, np.logical_or, f"{self} or {other}")

    def __invert__(self) -> Deterministic:
        whole = tables.complete(
            tables.Table(self.columns[0].numpy(), self.accepting.numpy(), self.start)
        )
        turned = tables.Table(whole.next, ~whole.accepting, whole.start)
        return Deterministic.spread(tables.minimal(turned), self.classes, f"not {self}")

    def ending(self, end: int) -> Deterministic:
        """Members followed by any number of ``end`` tokens, which occur nowhere else.

        For rows of fixed length that hold a text of any length. Complements must be taken before.

        Raises:
            InvalidOptionError: If there is no such token.
        """
        if not 0 <= end < self.tokens:
            raise InvalidOptionError(
                self.name, f"end token {end}", f"choose one from 0 to {self.tokens - 1}"
            )
        table = torch.cat([self.table, self.table.new_full((1, self.tokens), -1)])
        table[:, end] = torch.where(
            torch.cat([self.accepting, torch.tensor([True])]), self.states, -1
        )
        accepting = torch.cat([self.accepting, torch.tensor([True])])
        return Deterministic(table, accepting, self.start, self.name).minimal()
