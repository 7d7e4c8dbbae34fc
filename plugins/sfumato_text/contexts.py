"""Every context of a text, of every length up to N: sorting them once counts all n-grams.

The context of place t is what stands before it, read backwards. With the places sorted by context,
the places that share their last n letters are neighbours, for every n: a node of order n is a run
of neighbours whose common context is at least n long. A context that occurs once is no node; the
place where it occurs says all there is to say about it. The text is read as a circle, so that every
place has a context and a successor.

An arc is a node with a letter that follows it. Its *diversity* is the number of different letters
that stand before the arc's own n + 1 (Kneser & Ney, 1995): what a shorter context must be judged
by, since it is only asked where the longer ones do not know.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from sfumato.errors import InvalidOptionError

__all__ = ["LETTERS", "LONGEST", "Order", "Sorted", "orders"]

BITS = 16
LETTERS = 2**BITS
"""Most different letters."""
LONGEST = 20
"""Most letters of a context."""
ROOM = 60  # bits of an integer that letters are packed into


@dataclass(frozen=True, eq=False)
class Sorted:
    """The places of a text in the order of their contexts.

    Args:
        text: Letters, from 0.
        places: Places in order.
        common: How many letters the context shares with that of the neighbour before it; at most
            ``order``.
        order: N.
    """

    text: Int[ndarray, " length"]
    places: Int[ndarray, " length"]
    common: Int[ndarray, " length"]
    order: int

    @classmethod
    def of(cls, text: Int[ndarray, " length"], order: int) -> Sorted:
        """Sorts a text's places.

        Raises:
            InvalidOptionError: If the order or the alphabet is too large for the packed keys.
        """
        if not 1 <= order <= LONGEST or len(text) < 2 or text.max() >= LETTERS:
            raise InvalidOptionError(
                "n-grams", f"order {order}, {len(text)} letters of which the highest is "
                f"{text.max() if len(text) else None}",
                f"use orders up to {LONGEST}, a text, and at most {LETTERS} different letters",
            )  # fmt: skip
        bits = max(int(text.max()).bit_length(), 1)
        packed = ROOM // bits
        parts = [(n, min(n + packed, order)) for n in range(0, order, packed)]
        keys = [pack(text, first + 1, last, bits) for first, last in parts]
        places = np.arange(len(text))
        for key in reversed(keys):  # the nearest letters decide first, so they are sorted by last
            places = places[np.argsort(key[places], kind="stable")]
        common = np.zeros(len(text), np.int64)
        for (first, last), key in zip(parts, keys, strict=True):
            shared = agreement(key[places], last - first, bits)
            common = np.where(common < first, common, first + shared)
        return cls(text, places, common.astype(np.int8), order)

    def runs(self, n: int) -> Int[ndarray, " nodes"]:
        """Where the runs of a common context of n letters begin; n = 0 is the whole text."""
        starts = self.common < n
        starts[0] = True
        return np.flatnonzero(starts)


def pack(text: ndarray, first: int, last: int, bits: int) -> ndarray:
    """The letters that stand ``first`` to ``last`` before each place, nearest in the high bits."""
    keys = np.zeros(len(text), np.int64)
    for distance in range(first, last + 1):
        keys |= np.roll(text, distance).astype(np.int64) << (bits * (last - distance))
    return keys


def agreement(keys: ndarray, letters: int, bits: int) -> ndarray:
    """How many high letters each key shares with the one before it."""
    same = np.zeros(len(keys), np.int64)
    shared = np.full(len(keys) - 1, letters)
    different = keys[1:] ^ keys[:-1]
    for n in range(letters):
        shared -= different >= 1 << (bits * n)
    same[1:] = shared
    return same


@dataclass(frozen=True, eq=False)
class Order:
    """The nodes of one order with what follows them.

    Args:
        sizes: How often each node occurs; the nodes that occur once are left out below.
        start: Where the arcs of each node begin, with the total at the end.
        letter: What follows.
        diversity: Number of different letters before the arc.
        count: How often the arc occurs.
        place: A place where it does: the letter stands there.
        shorter: The same arc of the next shorter context, as an index into that order's arcs.
        node_at: The node of each place of the text, −1 where its context occurs once.
        suffix: The node of the context without its oldest letter, in the next shorter order.
    """

    sizes: ndarray
    start: ndarray
    letter: ndarray
    diversity: ndarray
    count: ndarray
    place: ndarray
    shorter: ndarray
    node_at: ndarray
    suffix: ndarray

    @property
    def owner(self) -> ndarray:
        """The node of each arc."""
        return np.repeat(np.arange(len(self.sizes)), np.diff(self.start))

    @property
    def total(self) -> ndarray:
        """Sum of the diversities of each node's arcs."""
        return np.add.reduceat(self.diversity, self.start[:-1])


@dataclass(frozen=True, eq=False)
class Counts:
    """All contexts of one order, those that occur once among them, and what follows them.

    Args:
        runs: Where each context's places begin in the sorted text.
        sizes: How many there are.
        keys: Context · 2¹⁶ + letter of every arc, ascending.
        diversity, count, place: As in ``Order``.
        inverse: The arc that each arc of the next longer order became.
        parents: The context that each context of the next longer order became.
    """

    runs: Int[ndarray, " contexts"]
    sizes: Int[ndarray, " contexts"]
    keys: Int[ndarray, " arcs"]
    diversity: Int[ndarray, " arcs"]
    count: Int[ndarray, " arcs"]
    place: Int[ndarray, " arcs"]
    inverse: Int[ndarray, " longer"]
    parents: Int[ndarray, " above"]

    @property
    def repeated(self) -> ndarray:
        """Whether each context occurs more than once."""
        return np.asarray(self.sizes > 1)

    @property
    def number(self) -> Int[ndarray, " contexts"]:
        """Number of each context among those that occur more than once, −1 for the others."""
        return np.where(self.repeated, np.cumsum(self.repeated) - 1, -1)

    @property
    def owned(self) -> ndarray:
        """Whether each arc's context occurs more than once."""
        return np.asarray(self.repeated[self.keys >> BITS])


def longest(contexts: Sorted) -> Counts:
    """Counts of the longest contexts, which nothing stands before."""
    runs = contexts.runs(contexts.order)
    sizes = np.diff(np.append(runs, len(contexts.text)))
    node = np.repeat(np.arange(len(runs)), sizes)
    keys = node * 2**BITS + contexts.text[contexts.places]
    each = np.ones(len(keys), np.int64)
    return summed(runs, sizes, keys, each, contexts.places, np.zeros(0, np.int64), plain=True)


def shortened(contexts: Sorted, longer: Counts, n: int) -> Counts:
    """Counts of the contexts of n letters, from those of n + 1."""
    runs = contexts.runs(n)
    sizes = np.diff(np.append(runs, len(contexts.text)))
    parents = np.searchsorted(runs, longer.runs, side="right") - 1
    letter = longer.keys & (2**BITS - 1)
    keys = parents[longer.keys >> BITS] * 2**BITS + letter
    return summed(runs, sizes, keys, longer.count, longer.place, parents)


def summed(
    runs: ndarray, sizes: ndarray, keys: ndarray, weight: ndarray, place: ndarray,
    parents: ndarray, *, plain: bool = False,
) -> Counts:  # fmt: skip
    """Arcs with equal keys together; ``plain``: their diversity is their count."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    diversity = np.diff(np.append(first, len(ordered)))
    count = np.add.reduceat(weight[order], first)
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.repeat(np.arange(len(first)), diversity)
    return Counts(
        runs, sizes, ordered[first], count if plain else diversity, count, place[order[first]],
        inverse, parents,
    )  # fmt: skip


def orders(contexts: Sorted) -> list[Order]:
    """All orders from 0 to N, counted from the longest down."""
    here = longest(contexts)
    found: list[Order] = []
    for n in range(contexts.order - 1, -1, -1):
        shorter = shortened(contexts, here, n)
        arcs = (np.cumsum(shorter.owned) - 1)[shorter.inverse[here.owned]]
        suffix = shorter.number[shorter.parents[here.repeated]]
        found.append(order_of(contexts, here, arcs, suffix))
        here = shorter
    blank = np.zeros(0, np.int64)
    found.append(order_of(contexts, here, blank, blank))
    return found[::-1]


def order_of(contexts: Sorted, counts: Counts, shorter: ndarray, suffix: ndarray) -> Order:
    """The contexts that occur more than once, with their links to the next shorter order."""
    number, owned = counts.number, counts.owned
    owner = number[counts.keys[owned] >> BITS]
    node_at = np.empty(len(contexts.text), np.int32)
    node_at[contexts.places] = np.repeat(number, counts.sizes)
    return Order(
        counts.sizes[counts.repeated], np.searchsorted(owner, np.arange(number.max() + 2)),
        (counts.keys[owned] & (2**BITS - 1)).astype(np.uint16), counts.diversity[owned],
        counts.count[owned], counts.place[owned], shorter, node_at, suffix,
    )  # fmt: skip
