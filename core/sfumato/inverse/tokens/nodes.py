"""One place of a lattice: from the histories before a token to those after it.

A node stands for all histories of an item with the same state of the chain and of the machine; its
mass is p(state | y up to here). An arc is a node, a token and the node that it leads to. Of more
nodes than the beam holds, those that promise least are replaced by nodes of the coarse chain, which
forget the far past but keep the mass.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from sfumato.denoisers.sequential import Sequential
from sfumato.factors.base import Machine

__all__ = ["Layer", "Nodes", "Step", "expand", "shares"]


@dataclass(frozen=True, eq=False)
class Nodes:
    """Histories, of all items together.

    Args:
        item: Whose history.
        state: State of the chain.
        coarse: Its coarse state.
        machine: State of the machine; 0 without one.
        mass: p(this node | y up to here); sums to 1 over an item.
        peak: The weight of its likeliest history alone; 1 at most over an item.
    """

    item: Int[ndarray, " nodes"]
    state: Int[ndarray, " nodes"]
    coarse: Int[ndarray, " nodes"]
    machine: Int[ndarray, " nodes"]
    mass: Float[ndarray, " nodes"]
    peak: Float[ndarray, " nodes"]

    def __len__(self) -> int:
        return len(self.item)


@dataclass(frozen=True, eq=False)
class Layer:
    """The nodes after a place, and the arcs that lead to them.

    Args:
        nodes: After the place.
        source: Node before the place, as an index into the layer before.
        token: Token at the place.
        target: Node after it.
        joint: p(arc | y up to here); sums to 1 over an item.
        peak: The weight of the likeliest history that ends with the arc; 1 at most over an item.
    """

    nodes: Nodes
    source: Int[ndarray, " arcs"]
    token: Int[ndarray, " arcs"]
    target: Int[ndarray, " arcs"]
    joint: Float[ndarray, " arcs"]
    peak: Float[ndarray, " arcs"]


@dataclass(frozen=True, eq=False)
class Step:
    """What is known at a place.

    Args:
        place: Which, for the machine.
        like: p(y_i | x_i = v) up to a factor, per item.
        ahead: What the coarse state after the place promises for the rest of y, per item.
        potential: The same for states of the machine; ``None`` without one.
    """

    place: int
    like: Float[ndarray, "items tokens"]
    ahead: Float[ndarray, "items coarse"]
    potential: Float[ndarray, " states"] | None = None


def shares(mass: ndarray, item: ndarray, items: int) -> tuple[ndarray, ndarray]:
    """Masses divided by their item's total, and the totals."""
    total = np.bincount(item, mass, items)
    return mass / np.where(total > 0, total, 1)[item], total


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
    ways = promising(chain, candidates(chain, machine, nodes, live, step, floor), nodes, step)
    promised = np.bincount(ways.item, ways.promise, items)
    ways, target, first = beamed(chain, likely(ways, items, beam, floor), beam)
    joint, kept = shares(ways.weight, ways.item, items)
    lost = 1 - np.bincount(ways.item, ways.promise, items) / np.where(promised > 0, promised, 1)
    peak = ways.weight * nodes.peak[ways.node] / nodes.mass[ways.node]
    peak = peak / highest(peak, ways.item, items)[ways.item]
    reached = Nodes(
        ways.item[first], ways.state[first], ways.coarse[first], ways.machine[first],
        np.bincount(target, joint, len(first)).astype(float), highest(peak, target, len(first)),
    )  # fmt: skip
    layer = Layer(reached, ways.node, ways.token, target, joint, peak)
    return layer, kept, np.maximum(lost, 0)


@dataclass(frozen=True, eq=False)
class Ways:
    """Ways to go on, of all items together.

    Args:
        node: From where.
        token: With which token.
        weight: Mass of the node times what the chain and the evidence say of the token.
        state: State of the chain afterwards.
        machine: State of the machine afterwards.
        item: Whose.
        coarse: Coarse state afterwards.
        promise: Weight times what is expected of the rest.
    """

    node: Int[ndarray, " n"]
    token: Int[ndarray, " n"]
    weight: Float[ndarray, " n"]
    state: Int[ndarray, " n"]
    machine: Int[ndarray, " n"]
    item: Int[ndarray, " n"]
    coarse: Int[ndarray, " n"]
    promise: Float[ndarray, " n"]

    def pick(self, index: Int[ndarray, " _"]) -> Ways:
        """Some of them."""
        return Ways(*(getattr(self, entry.name)[index] for entry in fields(self)))


def candidates(
    chain: Sequential,
    machine: Machine | None,
    nodes: Nodes,
    live: Int[ndarray, " n"],
    step: Step,
    floor: float,
) -> Ways:
    """Every way to go on that has any weight; what they promise is not known yet."""
    states, own = np.unique(nodes.state[live], return_inverse=True)
    probs, following = chain.follow(states)
    if machine is None:
        weight = nodes.mass[live, None] * probs[own] * step.like[nodes.item[live]]
        row, token = np.nonzero(weight)
        weight, after = weight[row, token], nodes.machine[live[row]]
    else:
        row, token, after, factor = read(machine, step.place, nodes.machine[live], floor)
        node = live[row]
        weight = nodes.mass[node] * probs[own[row], token] * factor
        weight = weight * step.like[nodes.item[node], token]
        some = np.flatnonzero(weight)
        row, token, after, weight = row[some], token[some], after[some], weight[some]
    node, state = live[row], following[own[row], token]
    return Ways(node, token, weight, state, after, nodes.item[node], node, weight)


def read(
    machine: Machine, place: int, states: Int[ndarray, " n"], floor: float
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Arcs of a machine out of each state: index of the state, token, next state, weight.

    Arcs that weigh less than the square of the floor beside the heaviest are left out: a channel
    may insert any number of letters before the next.
    """
    before, which = np.unique(states, return_inverse=True)
    arcs = machine.arcs(place, torch.from_numpy(before))
    factor = np.exp(arcs.log_weight.double().numpy())
    kept = np.flatnonzero(factor > floor**2 * factor.max(initial=0))
    kept = kept[np.argsort(arcs.source.numpy()[kept], kind="stable")]
    begin = np.searchsorted(arcs.source.numpy()[kept], np.arange(len(before) + 1))
    count = (begin[1:] - begin[:-1])[which]
    row = np.repeat(np.arange(len(states)), count)
    skipped = np.repeat(begin[:-1][which] - np.cumsum(count) + count, count)
    arc = kept[skipped + np.arange(len(row))]
    return row, arcs.token.numpy()[arc], arcs.target.numpy()[arc], factor[arc]


def promising(chain: Sequential, ways: Ways, nodes: Nodes, step: Step) -> Ways:
    """Says of every way what it promises.

    Where all promises of an item are empty, the coarse chain is wrong or nothing agrees with the
    row. Then the weights decide, until the place is reached where it shows.
    """
    coarse = chain.coarse.follow[nodes.coarse[ways.node], ways.token]
    ahead = step.ahead[ways.item, coarse]
    if step.potential is not None:
        ahead = ahead * step.potential[ways.machine]
    some = highest(ways.weight * ahead, ways.item, len(step.like)) > 0
    promise = ways.weight * np.where(some[ways.item], ahead, 1)
    return replace(ways, coarse=coarse, promise=promise)


def likely(ways: Ways, items: int, beam: int, floor: float) -> Ways:
    """What promises at least a share ``floor`` of the best, and at most eight beams of it."""
    best = highest(ways.promise, ways.item, items)
    keep = np.flatnonzero(ways.promise > floor * best[ways.item])
    if len(keep) > 8 * beam:
        keep = keep[ranks(ways.promise[keep], ways.item[keep]) < 8 * beam]
    return ways.pick(keep)


def beamed(chain: Sequential, ways: Ways, beam: int) -> tuple[Ways, ndarray, ndarray]:
    """Ways to the nodes that the beam holds, the node of each way, and a way of each node."""
    target, first = merged(ways)
    if len(first) <= beam:
        return ways, target, first
    far = ranks(np.bincount(target, ways.promise), ways.item[first]) >= beam
    if far.any() and chain.coarse.members is not None:
        state = np.where(far[target], chain.coarse.members[ways.coarse], ways.state)
        ways = replace(ways, state=state)
        target, first = merged(ways)
        far = ranks(np.bincount(target, ways.promise), ways.item[first]) >= 2 * beam
    if far.any():
        ways = ways.pick(np.flatnonzero(~far[target]))
        target, first = merged(ways)
    return ways, target, first


def highest(values: ndarray, group: ndarray, groups: int) -> Float[ndarray, " groups"]:
    """The highest value of each group, 0 where it has none."""
    found = np.zeros(groups)
    np.maximum.at(found, group, values)
    return found


def ranks(worth: ndarray, item: ndarray) -> Int[ndarray, " n"]:
    """The rank of each entry within its item, 0 for the highest; ties in their order."""
    order = np.lexsort((-worth, item))
    ordered = item[order]
    begin = np.searchsorted(ordered, ordered)
    found = np.empty(len(worth), np.int64)
    found[order] = np.arange(len(worth)) - begin
    return found


def merged(ways: Ways) -> tuple[ndarray, ndarray]:
    """Which ways lead to the same node, and one way to each node; nodes of an item together."""
    if not len(ways.item):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low = ways.state.min()
    high = ways.item * (ways.machine.max() + 1) + ways.machine
    key = high * (ways.state.max() - low + 1) + (ways.state - low)
    _, first, target = np.unique(key, return_index=True, return_inverse=True)
    return target, first
