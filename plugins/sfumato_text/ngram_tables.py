"""The arrays of an n-gram chain, from counts and discounts.

Contexts are numbered from the shortest to the longest, so that ``first`` tells a context's length.
The context of n letters of a place that occurs there alone has the number
first[-1] + (N + 1)·place + n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from sfumato.denoisers.sequential import Coarse
from sfumato_text.contexts import Order
from sfumato_text.discounts import Discounts

__all__ = ["Tables"]

DENSE = 2  # contexts of up to two letters have a row of all letters,
ROOM = 2**25  # as far as these rows hold no more numbers than this
STRENGTH = 5.0  # of the shorter context in a coarse row, in letters


@dataclass(frozen=True, eq=False)
class Tables:
    """What a chain looks up.

    Args:
        first: First context of each order, and the number of contexts.
        start: Where the arcs of a context begin, and their number.
        letter: The letter of an arc.
        prob: Its probability.
        target: The state that it leads to.
        left: g, what the next shorter context gets.
        suffix: The next shorter context.
        base: The longest repeated context of each place.
        probs: Rows of all letters of the shortest contexts.
        targets: The states that these lead to.
        doubt: Running sum of ln D of contexts that occur once, by order.
    """

    first: Int[ndarray, " ends"]
    start: Int[ndarray, " bounds"]
    letter: Int[ndarray, " arcs"]
    prob: Float[ndarray, " arcs"]
    target: Int[ndarray, " arcs"]
    left: Float[ndarray, " contexts"]
    suffix: Int[ndarray, " contexts"]
    base: Int[ndarray, " length"]
    probs: Float[ndarray, "short tokens"]
    targets: Int[ndarray, "short tokens"]
    doubt: Float[ndarray, " orders"]

    @classmethod
    def of(cls, counted: list[Order], discounts: Discounts, tokens: int) -> Tables:
        """Builds them."""
        first = np.cumsum([0] + [len(each.sizes) for each in counted])
        arcs = np.cumsum([0] + [len(each.letter) for each in counted])
        base = np.zeros(len(counted[0].node_at), np.int32)
        prob, left, target, suffix = [], [], [], []
        last = np.empty(0)
        for n, each in enumerate(counted):
            np.copyto(base, each.node_at + np.int32(first[n]), where=each.node_at >= 0)
            discount, rest = discounts.of(each, n)
            shorter = last[each.shorter] if n else 1 / tokens
            last = (each.diversity - discount) / each.total[each.owner] + rest[each.owner] * shorter
            prob.append(last.astype(np.float32))
            left.append(rest.astype(np.float32))
            target.append(longer(counted, n, first))
            suffix.append(each.suffix + first[n - 1] if n else np.zeros(1, np.int64))
        start = [each.start[:-1] + arcs[n] for n, each in enumerate(counted)]
        letter = np.concatenate([each.letter for each in counted])
        parts = (
            np.concatenate([*start, arcs[-1:]]), letter, np.concatenate(prob),
            np.concatenate(target).astype(np.int32), np.concatenate(left),
            np.concatenate(suffix).astype(np.int32),
        )  # fmt: skip
        doubt = np.append(0.0, np.cumsum(np.log(discounts.single[1:])))
        return cls(first, *parts, base, *rows(first, *parts, tokens), doubt)


def longer(counted: list[Order], n: int, first: ndarray) -> Int[ndarray, " arcs"]:
    """The state that each arc of order n leads to: its context with its letter, at most N long."""
    top = len(counted) - 1
    m = min(n + 1, top)
    place = (counted[n].place + 1) % len(counted[m].node_at)
    node = counted[m].node_at[place]
    single = first[-1] + (top + 1) * place + m
    return np.asarray(np.where(node >= 0, first[m] + node, single))


def rows(
    first: ndarray,
    start: ndarray,
    letter: ndarray,
    prob: ndarray,
    target: ndarray,
    left: ndarray,
    suffix: ndarray,
    tokens: int,
) -> tuple[Float[ndarray, "short tokens"], Int[ndarray, "short tokens"]]:
    """Rows of all letters of the short contexts, and where they lead."""
    most = dense(first, tokens)
    short = int(first[most + 1])
    probs, targets = np.full((short, tokens), 1 / tokens), np.zeros((short, tokens), np.int64)
    for n in range(most + 1):
        own = np.arange(first[n], first[n + 1])
        end = suffix[own]
        probs[own], targets[own] = probs[end] * left[own, None], targets[end]
        arcs = np.arange(start[own[0]], start[own[-1] + 1])
        owner = np.repeat(own, np.diff(start[own[0] : own[-1] + 2]))
        probs[owner, letter[arcs]], targets[owner, letter[arcs]] = prob[arcs], target[arcs]
    return probs, targets


def dense(first: ndarray, tokens: int) -> int:
    """Letters of the longest contexts that have a row of all letters."""
    room = [n for n in range(min(DENSE, len(first) - 2) + 1) if first[n + 1] * tokens <= ROOM]
    return max(room, default=0)


def coarse(counted: list[Order], tables: Tables) -> Coarse:
    """The chain of the short contexts, by plain frequencies.

    Diversities say how a context goes on where longer ones fail. Of a state that stands for all of
    its contexts, frequencies are what is true.
    """
    tokens = tables.probs.shape[1]
    probs = np.full_like(tables.probs, 1 / tokens)
    for n, each in enumerate(counted[: dense(tables.first, tokens) + 1]):
        own = np.arange(tables.first[n], tables.first[n + 1])
        counts = np.zeros((len(own), tokens))
        counts[each.owner, each.letter] = each.count
        shorter = probs[tables.suffix[own]] if n else probs[own]
        probs[own] = (counts + STRENGTH * shorter) / (each.sizes[:, None] + STRENGTH)
    ends = tables.targets
    top = len(tables.first) - 2
    place = (ends - tables.first[-1]) // (top + 1)
    state = np.where(ends >= tables.first[-1], tables.base[np.maximum(place, 0)], ends)
    while (long := state >= len(probs)).any():
        state = np.where(long, tables.suffix[state], state)
    return Coarse(probs, state)
