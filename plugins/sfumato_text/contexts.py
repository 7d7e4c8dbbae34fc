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

__all__ = ["LONGEST", "Order", "Sorted", "orders"]

BITS, PACKED = 6, 10  # ten letters of six bits in one integer
LONGEST = 2 * PACKED


@dataclass(frozen=True, eq=False)
class Sorted:
    """The places of a text in the order of their contexts.

    Args:
        text: Letters, 0 … 63.
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
        if not 1 <= order <= LONGEST or len(text) < 2 or text.max() >= 2**BITS:
            raise InvalidOptionError(
                "n-grams", f"order {order}, {len(text)} letters of which the highest is "
                f"{text.max() if len(text) else None}",
                f"use orders up to {LONGEST}, a text, and at most {2**BITS} different letters",
            )  # fmt: skip
        near, far = min(order, PACKED), max(order - PACKED, 0)
        keys = pack(text, 1, near)
        places = np.arange(len(text))
        rest = pack(text, PACKED + 1, order) if far else np.zeros_like(keys)
        if far:
            places = np.argsort(rest, kind="stable")
        places = places[np.argsort(keys[places], kind="stable")]
        common = agreement(keys[places], near)
        common = np.where(common < near, common, near + agreement(rest[places], far))
        return cls(text, places, common.astype(np.int8), order)

    def runs(self, n: int) -> Int[ndarray, " nodes"]:
        """Where the runs of a common context of n letters begin; n = 0 is the whole text."""
        starts = self.common < n
        starts[0] = True
        return np.flatnonzero(starts)


def pack(text: ndarray, first: int, last: int) -> ndarray:
    """The letters that stand ``first`` to ``last`` before each place, nearest in the high bits."""
    keys = np.zeros(len(text), np.int64)
    for distance in range(first, last + 1):
        keys |= np.roll(text, distance).astype(np.int64) << (BITS * (last - distance))
    return keys


def agreement(keys: ndarray, letters: int) -> ndarray:
    """How many high letters each key shares with the one before it."""
    same = np.zeros(len(keys), np.int64)
    shared = np.full(len(keys) - 1, letters)
    different = keys[1:] ^ keys[:-1]
    for n in range(letters):
        shared -= different >= 1 << (BITS * n)
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


def orders(contexts: Sorted) -> list[Order]:
    """All orders from 0 to N, counted from the longest down."""
    length, top = len(contexts.text), contexts.order
    found: list[Order] = []
    arcs = parents = above = above_kept = None
    for n in range(top, -1, -1):
        runs = contexts.runs(n)
        sizes = np.diff(np.append(runs, length))
        kept = sizes > 1
        number = np.where(kept, np.cumsum(kept) - 1, -1)
        if arcs is None:
            node = np.repeat(np.arange(len(runs)), sizes)
            keys = node * 2**BITS + contexts.text[contexts.places]
            weight, place = np.ones(length, np.int64), contexts.places
        else:
            old, weight, place = arcs
            node = np.searchsorted(runs, above, side="right") - 1
            keys = node[old >> BITS] * 2**BITS + (old & (2**BITS - 1))
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        keys = ordered[first]
        count = np.add.reduceat(weight[order], first)
        diversity = np.diff(np.append(first, len(ordered))) if arcs is not None else count
        place = place[order[first]]
        own = kept[keys >> BITS]  # arcs of nodes that are kept
        if found:
            inverse = np.empty(len(order), np.int64)
            inverse[order] = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(order))))
            index = np.cumsum(own) - 1
            found[-1] = linked(found[-1], index[inverse[parents]], number[node[above_kept]])
        owner = number[keys[own] >> BITS]
        start = np.searchsorted(owner, np.arange(kept.sum() + 1))
        node_at = np.empty(length, np.int32)
        node_at[contexts.places] = np.repeat(number, sizes)
        letter = (keys[own] & (2**BITS - 1)).astype(np.uint8)
        blank = np.zeros(0, np.int64)
        found.append(
            Order(sizes[kept], start, letter, diversity[own], count[own], place[own], blank,
                  node_at, blank)
        )  # fmt: skip
        arcs, parents, above = (keys, count, place), np.flatnonzero(own), runs
        above_kept = np.flatnonzero(kept)
    return found[::-1]


def linked(order: Order, shorter: ndarray, suffix: ndarray) -> Order:
    """The order with its links to the next shorter one."""
    return Order(
        order.sizes, order.start, order.letter, order.diversity, order.count, order.place, shorter,
        order.node_at, suffix,
    )  # fmt: skip
