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
from sfumato.inverse.tokens.thinning import survivors
from sfumato.inverse.tokens.ways import Ways, promising

__all__ = ["expand"]

MANY = 8  # ways that are followed for every node that is kept
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
    ways, whole = promising(chain, machine, nodes, live, step, floor, MANY * beam)
    ways, target, first = thinned(ways, beam, step.chance[1:])
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
    ways = ways.weighed(survivors(ways.promise, ways.item, MANY * beam, chance[0]))
    target, first = merged(ways)
    if len(first) <= beam:
        return ways, target, first
    promise = np.bincount(target, ways.promise)
    ways = ways.weighed(survivors(promise, ways.item[first], beam, chance[1])[target])
    return ways, *merged(ways)


def merged(ways: Ways) -> tuple[ndarray, ndarray]:
    """Which ways lead to the same node, and one way to each node; nodes of an item together."""
    if not len(ways.item):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low = ways.state.min()
    high = ways.item * (ways.machine.max() + 1) + ways.machine
    key = high * (ways.state.max() - low + 1) + (ways.state - low)
    _, first, target = np.unique(key, return_index=True, return_inverse=True)
    return target, first
