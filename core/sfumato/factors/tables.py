"""Tables of deterministic automata: product, complement, the smallest of a language."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sfumato.errors import InvalidOptionError

__all__ = ["LARGEST", "Table", "complete", "minimal", "product"]

LARGEST = 20_000  # states; beyond, messages take minutes and gigabytes


@dataclass(frozen=True, eq=False)
class Table:
    """A deterministic automaton.

    Args:
        next: Following state by state and class of symbols, −1 refuses; ``[states, kinds]``.
        accepting: ``[states]``.
        start: The first state.
    """

    next: np.ndarray
    accepting: np.ndarray
    start: int


def complete(table: Table) -> Table:
    """The same language with a state for what is refused, so that no entry is −1."""
    n = len(table.next)
    full = np.where(table.next < 0, n, table.next)
    return Table(
        np.vstack([full, np.full((1, full.shape[1]), n)]),
        np.append(table.accepting, False),
        table.start,
    )


def product(left: Table, right: Table, rule: Callable[..., np.ndarray]) -> Table:
    """The reachable part of both at once.

    Args:
        left: One automaton.
        right: Another over the same classes of symbols.
        rule: (accepted by left, accepted by right) ↦ accepted.

    Raises:
        InvalidOptionError: If it has more than ``LARGEST`` states.
    """
    left, right = complete(left), complete(right)
    width = len(right.next)
    numbers = {left.start * width + right.start: 0}
    frontier, rows = np.array([left.start * width + right.start]), []
    while len(frontier):
        reached = left.next[frontier // width] * width + right.next[frontier % width]
        rows.append(reached)
        fresh = [pair for pair in np.unique(reached).tolist() if pair not in numbers]
        numbers.update(zip(fresh, range(len(numbers), len(numbers) + len(fresh)), strict=True))
        if len(numbers) > LARGEST:
            raise too_large("product of constraints")
        frontier = np.array(fresh, dtype=np.int64)
    pairs = np.array(list(numbers))
    order = np.argsort(pairs)
    following = order[np.searchsorted(pairs[order], np.concatenate(rows))]
    accepting = rule(left.accepting[pairs // width], right.accepting[pairs % width])
    return Table(following, accepting, 0)


def minimal(table: Table) -> Table:
    """The smallest automaton of the same language, without states that lead nowhere.

    States are split by what they accept and by where they lead until nothing splits (Moore, 1956).
    An empty language leaves one state that refuses everything.
    """
    whole = complete(reachable(table))
    labels = whole.accepting.astype(np.int64)
    before, after = 0, len(np.unique(labels))
    while before < after:
        for column in whole.next.T:
            pair = labels * len(labels) + labels[column]
            labels = np.unique(pair, return_inverse=True)[1].reshape(-1)
        before, after = after, int(labels.max()) + 1
    first = np.unique(labels, return_index=True)[1]
    small = Table(labels[whole.next[first]], whole.accepting[first], int(labels[whole.start]))
    return without_dead(small)


def reachable(table: Table) -> Table:
    """Only the states that some sequence reaches."""
    seen = np.zeros(len(table.next), dtype=bool)
    frontier = np.array([table.start])
    while len(frontier):
        seen[frontier] = True
        reached = np.unique(table.next[frontier])
        reached = reached[reached >= 0]
        frontier = reached[~seen[reached]]
    return chosen(table, seen)


def without_dead(table: Table) -> Table:
    """Only the states from which something is accepted, and the first."""
    alive = table.accepting.copy()
    while True:
        leads = np.where(table.next >= 0, alive[table.next], False).any(axis=1)
        if not (leads & ~alive).any():
            break
        alive |= leads
    cut = Table(
        np.where((table.next >= 0) & alive[table.next], table.next, -1),
        table.accepting,
        table.start,
    )
    alive[table.start] = True
    return chosen(cut, alive)


def chosen(table: Table, kept: np.ndarray) -> Table:
    """Only some states, renumbered; the others must not be reached from them."""
    numbers = np.append(np.cumsum(kept) - 1, -1)
    return Table(numbers[table.next[kept]], table.accepting[kept], int(numbers[table.start]))


def too_large(what: str) -> InvalidOptionError:
    """An automaton that would not fit."""
    return InvalidOptionError(
        what, f"needs more than {LARGEST:,} states",
        "make counted repeats smaller or use fewer constraints at once",
    )  # fmt: skip
