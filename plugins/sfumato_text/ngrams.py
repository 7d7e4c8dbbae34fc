"""An n-gram model of letters as a chain: order 14, from nothing but the text it was counted in.

    p(v | c) = (d(cv) − D(cv)) / d(c) + g(c) p(v | c without its oldest letter)

d are counts of different letters that stand before (Kneser & Ney, 1995; Chen & Goodman, 1999), D
discounts that depend on the order, on how often and in how many ways the context goes on, and on
d(cv); g(c) is what the discounts leave. A state of the chain is the longest context that the
training text holds: every part of what it holds it holds too, so a state and a letter determine
the next state.

A context that occurs once needs no table. It goes on as it did there, with chance 1 − Π D over the
orders by which it is longer than its longest repeated end. Its state is the place and the order, so
that long contexts cost no memory.

What is stored is the text, compressed, and the discounts: less than a megabyte for four million
letters. Counting takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from sfumato.denoisers.sequential import Coarse, Sequential
from sfumato.errors import InvalidOptionError
from sfumato_text.contexts import Sorted, orders
from sfumato_text.discounts import Discounts
from sfumato_text.ngram_tables import Tables, coarse

__all__ = ["NGrams"]


@dataclass(frozen=True, eq=False)
class NGrams(Sequential):
    """Letters given up to ``order`` letters before them.

    States 0 to M − 1 are contexts that occur more than once, from M those that occur once; −1 is
    the middle of a text of which nothing was seen.

    Args:
        text: The training text as tokens.
        alphabet: The letters in the order of their tokens.
        discounts: D; the order follows from it.

    Raises:
        InvalidOptionError: If the text holds other tokens than the alphabet has.
    """

    text: Int[ndarray, " length"]
    alphabet: str
    discounts: Discounts
    tables: Tables = field(init=False, repr=False)
    coarse: Coarse = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not len(self.text) or int(self.text.max()) >= len(self.alphabet):
            raise InvalidOptionError(
                "n-grams", f"a text of {len(self.text)} letters that the alphabet does not cover",
                "list every letter of the text in the alphabet",
            )  # fmt: skip
        counted = orders(Sorted.of(self.text, self.order))
        tables = Tables.of(counted, self.discounts, self.tokens)
        object.__setattr__(self, "tables", tables)
        object.__setattr__(self, "coarse", coarse(counted, tables))

    @property
    def order(self) -> int:
        """N, the longest context."""
        return self.discounts.order

    @property
    def tokens(self) -> int:  # type: ignore[override]
        return len(self.alphabet)

    def encode(self, text: str) -> Int[ndarray, " length"]:
        """Tokens of a text.

        Raises:
            InvalidOptionError: Naming the letters that the alphabet lacks.
        """
        missing = sorted(set(text) - set(self.alphabet))
        if missing:
            raise InvalidOptionError(
                "text", f"letters that the alphabet lacks: {missing}", "replace them"
            )
        number = {letter: token for token, letter in enumerate(self.alphabet)}
        return np.array([number[letter] for letter in text], np.int64)

    def initial(self) -> tuple[ndarray, ndarray]:
        """A text begins after the end of a line, or anywhere."""
        newline = self.alphabet.find("\n")
        if newline < 0:
            return np.array([-1]), np.ones(1)
        return np.array([-1, self.tables.targets[0, newline]]), np.array([0.5, 0.5])

    def repeated(self, states: ndarray) -> ndarray:
        """The longest end of each state's context that occurs more than once."""
        single = states >= self.tables.first[-1]
        place = np.where(single, (states - self.tables.first[-1]) // (self.order + 1), 0)
        found = np.where(single, self.tables.base[place], states)
        return np.maximum(found, 0)

    def cut(self, states: ndarray, n: int) -> ndarray:
        """The end of each state's context that is at most n letters long."""
        if n >= self.order:
            return states
        found = self.repeated(states)
        while (long := found >= self.tables.first[n + 1]).any():
            found = np.where(long, self.tables.suffix[found], found)
        length = (states - self.tables.first[-1]) % (self.order + 1)
        known = np.searchsorted(self.tables.first, found, side="right") - 1
        # what is longer than its longest repeated end occurs once
        alone = (states >= self.tables.first[-1]) & (np.minimum(length, n) > known)
        single = states - length + np.minimum(length, n)
        return np.where(states < 0, states, np.where(alone, single, found))

    def coarsen(self, states: ndarray) -> ndarray:
        state = self.repeated(states)
        while (long := state >= len(self.coarse.probs)).any():
            state = np.where(long, self.tables.suffix[state], state)
        return state

    def follow(self, states: ndarray) -> tuple[ndarray, ndarray]:
        probs, targets = self.backed_off(self.repeated(states))
        which = np.flatnonzero(states < 0)
        probs[which] = self.coarse.probs[0]
        self.put_single(states, probs, targets)
        return probs, targets

    def backed_off(self, states: ndarray) -> tuple[ndarray, ndarray]:
        """Rows of repeated contexts: those of their ends, overwritten from the shortest up."""
        # ``take`` and sums in place: this is what a lattice waits for
        tables, short = self.tables, len(self.tables.probs)
        ends, share = states.copy(), np.ones(len(states))
        passed: list[tuple[ndarray, ndarray, ndarray]] = []
        while len(row := np.flatnonzero(ends >= short)):
            passed.append((ends[row], share[row], row))
            share[row] *= tables.left[ends[row]]
            ends[row] = tables.suffix[ends[row]]
        probs = tables.probs.take(ends, axis=0)
        probs *= share[:, None]
        targets = tables.targets.take(ends, axis=0)
        if not passed:
            return probs, targets
        owner, share, row = (np.concatenate(parts) for parts in zip(*passed[::-1], strict=True))
        begin = tables.start.take(owner)
        count = tables.start.take(owner + 1) - begin
        which = np.repeat(np.arange(len(owner)), count)
        arc = np.arange(len(which))
        arc += (begin - np.cumsum(count) + count).take(which)
        cell = (row * self.tokens).take(which)
        cell += tables.letter.take(arc)
        # of several arcs for one cell the last stays, which is that of the longest context
        last = np.full(probs.size, -1, np.int32)
        last[cell] = np.arange(len(arc), dtype=np.int32)
        cell = np.flatnonzero(last >= 0)
        last = last.take(cell)
        arc = arc.take(last)
        probs.reshape(-1)[cell] = tables.prob.take(arc) * share.take(which.take(last))
        targets.reshape(-1)[cell] = tables.target.take(arc)
        return probs, targets

    def put_single(self, states: ndarray, probs: ndarray, targets: ndarray) -> None:
        """Says in the rows of contexts that occur once how they went on."""
        tables = self.tables
        which = np.flatnonzero(states >= tables.first[-1])
        if not len(which):
            return
        place, n = np.divmod(states[which] - tables.first[-1], self.order + 1)
        known = np.searchsorted(tables.first, tables.base[place], side="right") - 1
        doubt = np.exp(tables.doubt[n] - tables.doubt[known])
        letter = self.text[place]
        probs[which] *= doubt[:, None]
        probs[which, letter] += 1 - doubt
        m = np.minimum(n + 1, self.order)
        place = (place + 1) % len(tables.base)
        base, single = tables.base[place], tables.first[-1] + (self.order + 1) * place + m
        # what contains a single context is single; one of the full order forgets a letter
        targets[which, letter] = np.where(base >= tables.first[m], base, single)
