"""From a regular expression to a table of letters: nets of states, and sets of states.

An expression becomes a net with one entry and one exit (Thompson, 1968). Some edges read a letter,
some nothing; those of anchors may be passed only at the start or at the end of the text. All states
in which a net may be after some letters are one state of the table (Rabin & Scott, 1959). The state
before the first letter is kept apart, because there the start may still be asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from sfumato.errors import InvalidOptionError
from sfumato.factors import expressions as ex
from sfumato.factors.tables import LARGEST, Table, minimal, too_large

__all__ = ["Net", "compiled"]

LONGEST = 2_000_000  # states visited while a table is made; some seconds


@dataclass
class Net:
    """States joined by edges.

    Args:
        name: What error messages call it.
        free: From each state: states that are reached without a letter, and what must hold there:
            ``None``, "start" or "end".
        reading: From each state: the set of letters that leads on, and where to; at most one.
    """

    name: str
    free: list[list[tuple[int, str | None]]] = field(default_factory=list)
    reading: list[tuple[frozenset[str], int] | None] = field(default_factory=list)

    def new(self) -> int:
        """A new state."""
        if len(self.free) >= 5 * LARGEST:
            raise too_large(self.name)
        self.free.append([])
        self.reading.append(None)
        return len(self.free) - 1

    def add(self, tree: ex.Expression, entry: int) -> int:
        """Adds what an expression allows from ``entry`` on; returns the exit."""
        if isinstance(tree, ex.Letters):
            reader, out = self.new(), self.new()
            self.free[entry].append((reader, None))
            self.reading[reader] = (tree.members, out)
            return out
        if isinstance(tree, ex.Anchor):
            out = self.new()
            self.free[entry].append((out, "end" if tree.end else "start"))
            return out
        if isinstance(tree, ex.Sequence):
            for part in tree.parts:
                entry = self.add(part, entry)
            return entry
        if isinstance(tree, ex.Alternatives):
            out = self.new()
            for choice in tree.choices:
                self.free[self.add(choice, self.enter(entry))].append((out, None))
            return out
        return self.repeat(tree, entry)

    def enter(self, entry: int) -> int:
        """A new state after ``entry``."""
        new = self.new()
        self.free[entry].append((new, None))
        return new

    def repeat(self, tree: ex.Repeat, entry: int) -> int:
        """Copies of what is repeated; the ones that need not be can be passed by."""
        for _ in range(tree.least):
            entry = self.add(tree.inner, entry)
        if tree.most is None:
            hub = self.enter(entry)
            self.free[self.add(tree.inner, hub)].append((hub, None))
            return self.enter(hub)
        out = self.new()
        for _ in range(tree.most - tree.least):
            self.free[entry].append((out, None))
            entry = self.add(tree.inner, self.enter(entry))
        self.free[entry].append((out, None))
        return out

    def closed(self, states: Iterable[int], *, start: bool = False, end: bool = False) -> set[int]:
        """All states that are reached without a letter."""
        holds = {None, *(["start"] if start else []), *(["end"] if end else [])}
        found, waiting = set(states), list(states)
        while waiting:
            for target, needs in self.free[waiting.pop()]:
                if needs in holds and target not in found:
                    found.add(target)
                    waiting.append(target)
        return found


def compiled(
    tree: ex.Expression, letters: frozenset[str], *, around: bool = False, name: str = "pattern"
) -> tuple[Table, dict[str, int]]:
    """The smallest table of an expression, and the column of each letter.

    Args:
        tree: The expression.
        letters: The alphabet.
        around: Whether anything may come before and after.
        name: What error messages call it.

    Raises:
        InvalidOptionError: If it needs too many states.
    """
    if around:
        anything = ex.Repeat(ex.Letters(letters), 0, None)
        tree = ex.Sequence((anything, tree, anything))
    net = Net(name)
    entry = net.new()
    last = net.add(tree, entry)
    sets = list({edge[0] for edge in net.reading if edge is not None})
    signatures = {
        letter: tuple(letter in members for members in sets) for letter in sorted(letters)
    }
    numbers = {signature: k for k, signature in enumerate(dict.fromkeys(signatures.values()))}
    columns = {letter: numbers[signature] for letter, signature in signatures.items()}
    allowed = {
        members: [k for signature, k in numbers.items() if signature[i]]
        for i, members in enumerate(sets)
    }
    return minimal(determined(net, entry, last, allowed, max(len(numbers), 1))), columns


def determined(
    net: Net, entry: int, last: int, allowed: dict[frozenset[str], list[int]], kinds: int
) -> Table:
    """The table of all sets of states that the net may be in."""
    first = (frozenset(net.closed([entry], start=True)), True)
    numbers, waiting = {first: 0}, [first]
    rows: list[list[int]] = []
    accepting: list[bool] = []
    visited = 0
    for states, start in waiting:  # grows on the way
        visited += len(states)
        if visited > LONGEST:
            raise InvalidOptionError(
                net.name, "has too many ways to be read at once",
                "make counted repeats smaller, or nest them less",
            )  # fmt: skip
        reached: list[set[int]] = [set() for _ in range(kinds)]
        for edge in (net.reading[state] for state in states):
            if edge is not None:
                for kind in allowed[edge[0]]:
                    reached[kind].add(edge[1])
        row = [-1] * kinds
        for kind, targets in enumerate(reached):
            if targets:
                following = (frozenset(net.closed(targets)), False)
                if following not in numbers:
                    numbers[following] = len(numbers)
                    waiting.append(following)
                row[kind] = numbers[following]
        rows.append(row)
        accepting.append(last in net.closed(states, start=start, end=True))
        if len(numbers) > LARGEST:
            raise too_large(net.name)
    return Table(np.array(rows, dtype=np.int64), np.array(accepting), 0)
