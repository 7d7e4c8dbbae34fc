"""One place of a lattice: from the histories before a token to those after it.

Of more nodes than the beam holds, those that promise most are kept; of the others some are drawn,
and stand for those that were not.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from sfumato.denoisers.sequential import Sequential
from sfumato.factors.base import Machine
from sfumato.inverse.tokens.nodes import Layer, Nodes, Step, highest, shares
from sfumato.inverse.tokens.ways import Ways, promising

__all__ = ["expand"]

ROUNDING = 1e-12  # a share that two orders of summation may differ by


def expand(
    chain: Sequential,
    machine: Machine | None,
    nodes: Nodes,
    live: Int[ndarray, " n"],
    step: Step,
    *,
    beam: int,
    floor: float,
) -> tuple[Layer, ndarray, ndarray]:
    """Appends a token to every history of the nodes ``live``.

    Returns:
        The layer; the total weight of each item's histories, ``[items]``; and the share of what
        was promised that was left out.
    """
    items = len(step.like)
    ways, whole = promising(chain, machine, nodes, live, step, floor)
    ways, target, first = thinned(ways, beam, step.chance)
    own = np.bincount(ways.item, ways.promise / ways.stands, items)
    lost = 1 - own / np.where(whole > 0, whole, 1)
    joint, kept = shares(ways.weight, ways.item, items)
    peak = ways.peak / highest(ways.peak, ways.item, items)[ways.item]
    reached = Nodes(
        ways.item[first], ways.state[first], ways.coarse[first], ways.machine[first],
        np.bincount(target, joint, len(first)).astype(float), highest(peak, target, len(first)),
    )  # fmt: skip
    layer = Layer(reached, ways.node, ways.token, target, joint, peak)
    return layer, kept, np.where(lost > ROUNDING, lost, 0)


def thinned(ways: Ways, beam: int, chance: Float[ndarray, " 2"]) -> tuple[Ways, ndarray, ndarray]:
    """Ways to at most ``beam`` nodes of an item, the node of each way, and a way of each node."""
    ways = ways.weighed(survivors(ways.promise, ways.item, 8 * beam, chance[0]))
    target, first = merged(ways)
    if len(first) <= beam:
        return ways, target, first
    promise = np.bincount(target, ways.promise)
    ways = ways.weighed(survivors(promise, ways.item[first], beam, chance[1])[target])
    return ways, *merged(ways)


def survivors(
    worth: Float[ndarray, " n"], item: Int[ndarray, " n"], size: int, u: float
) -> Float[ndarray, " n"]:
    """By what each entry is multiplied so that at most ``size`` entries of an item are left."""
    factor = np.ones(len(worth))
    for crowded in np.flatnonzero(np.bincount(item) > size):
        own = np.flatnonzero(item == crowded)
        factor[own] = resampled(worth[own], size, u)
    return factor


def resampled(worth: Float[ndarray, " n"], size: int, u: float) -> Float[ndarray, " n"]:
    """Factors, 0 for all but ``size`` entries, that change no sum over the entries in the mean.

    Entries worth more than c stay as they are. Of the others each survives with chance worth/c, and
    is worth c then; c makes their number right. Of all ways to keep so many entries without bias
    this one disturbs them least (Fearnhead & Clifford, 2003, section 3). One number u chooses along
    the row of entries: systematic sampling.

    Args:
        worth: Not negative; more than ``size`` entries.
        size: How many to keep.
        u: Uniform in [0, 1).
    """
    ordered = np.sort(worth)
    rest = np.cumsum(ordered)[::-1][:size]
    room = np.arange(size, 0, -1)
    heavy = int(np.argmax(ordered[::-1][:size] * room <= rest))
    c = max(rest[heavy] / room[heavy], np.finfo(float).tiny)
    share = np.minimum(worth / c, 1)
    light = np.where(share < 1, share, 0)
    ends = np.floor(np.concatenate([[0.0], np.cumsum(light)]) + u)
    chosen = (ends[1:] > ends[:-1]) | (share == 1)
    return np.where(chosen, 1 / np.where(chosen, share, 1), 0.0)


def merged(ways: Ways) -> tuple[ndarray, ndarray]:
    """Which ways lead to the same node, and one way to each node; nodes of an item together."""
    if not len(ways.item):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low = ways.state.min()
    high = ways.item * (ways.machine.max() + 1) + ways.machine
    key = high * (ways.state.max() - low + 1) + (ways.state - low)
    _, first, target = np.unique(key, return_index=True, return_inverse=True)
    return target, first
