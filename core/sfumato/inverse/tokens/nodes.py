"""One place of a lattice: from the histories before a token to those after it.

A node stands for all histories of an item with the same state of the chain and of the machine; its
mass is p(state | y up to here). An arc is a node, a token and the node that it leads to. Of more
nodes than the beam holds, those that promise least are replaced by nodes of the coarse chain, which
forget the far past but keep the mass.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    node, token, weight, following, after = candidates(chain, machine, nodes, live, step)
    item = nodes.item[node]
    coarse = chain.coarse.follow[nodes.coarse[node], token]
    promise = weight * promise_of(step, item, coarse, after)
    promised = np.bincount(item, promise, items)
    keep = np.flatnonzero(promise > floor * highest(promise, item, items)[item])
    if len(keep) > 8 * beam:
        keep = keep[ranks(promise[keep], item[keep]) < 8 * beam]
    node, token, weight, promise = node[keep], token[keep], weight[keep], promise[keep]
    item, following, after, coarse = item[keep], following[keep], after[keep], coarse[keep]
    target, first = merged(item, after, following)
    if len(first) > beam:
        worth = np.bincount(target, promise)
        far = ranks(worth, item[first]) >= beam
        if far.any() and chain.coarse.members is not None:
            following = np.where(far[target], chain.coarse.members[coarse], following)
            target, first = merged(item, after, following)
            worth = np.bincount(target, promise)
            far = ranks(worth, item[first]) >= 2 * beam
        if far.any():
            near = ~far[target]
            node, token, weight, item = node[near], token[near], weight[near], item[near]
            following, after, coarse = following[near], after[near], coarse[near]
            target, first = merged(item, after, following)
    joint, kept = shares(weight, item, items)
    held = np.bincount(item, weight * promise_of(step, item, coarse, after), items)
    lost = 1 - held / np.where(promised > 0, promised, 1)
    peak = weight * nodes.peak[node] / nodes.mass[node]
    peak = peak / highest(peak, item, items)[item]
    reached = Nodes(
        item[first], following[first], coarse[first], after[first],
        np.bincount(target, joint), highest(peak, target, len(first)),
    )  # fmt: skip
    return Layer(reached, node, token, target, joint, peak), kept, np.maximum(lost, 0)


def promise_of(step: Step, item: ndarray, coarse: ndarray, machine: ndarray) -> ndarray:
    """What the rest of y is expected to make of a history's weight."""
    ahead = step.ahead[item, coarse]
    return ahead if step.potential is None else ahead * step.potential[machine]


def highest(values: ndarray, group: ndarray, groups: int) -> Float[ndarray, " groups"]:
    """The highest value of each group, 0 where it has none."""
    found = np.zeros(groups)
    np.maximum.at(found, group, values)
    return found


def candidates(
    chain: Sequential, machine: Machine | None, nodes: Nodes, live: ndarray, step: Step
) -> tuple[ndarray, ndarray, ndarray, ndarray, ndarray]:
    """Every way to go on: node, token, weight, state of the chain, state of the machine."""
    states, own = np.unique(nodes.state[live], return_inverse=True)
    probs, following = chain.follow(states)
    if machine is None:
        weight = nodes.mass[live, None] * probs[own] * step.like[nodes.item[live]]
        row, token = np.nonzero(weight)
        node = live[row]
        return node, token, weight[row, token], following[own[row], token], nodes.machine[node]
    before, which = np.unique(nodes.machine[live], return_inverse=True)
    arcs = machine.arcs(step.place, torch.from_numpy(before))
    source = arcs.source.numpy()
    order = np.argsort(source, kind="stable")
    begin = np.searchsorted(source[order], np.arange(len(before) + 1))
    count = (begin[1:] - begin[:-1])[which]
    row = np.repeat(np.arange(len(live)), count)
    arc = order[
        np.repeat(begin[:-1][which] - np.cumsum(count) + count, count) + np.arange(count.sum())
    ]
    token, factor = arcs.token.numpy()[arc], np.exp(arcs.log_weight.numpy()[arc])
    node = live[row]
    weight = nodes.mass[node] * probs[own[row], token] * step.like[nodes.item[node], token] * factor
    some = np.flatnonzero(weight)
    row, token, node = row[some], token[some], node[some]
    return node, token, weight[some], following[own[row], token], arcs.target.numpy()[arc[some]]


def ranks(worth: ndarray, item: ndarray) -> Int[ndarray, " n"]:
    """The rank of each entry within its item, 0 for the highest; ties in their order."""
    order = np.lexsort((-worth, item))
    ordered = item[order]
    begin = np.searchsorted(ordered, ordered)
    found = np.empty(len(worth), np.int64)
    found[order] = np.arange(len(worth)) - begin
    return found


def merged(item: ndarray, machine: ndarray, state: ndarray) -> tuple[ndarray, ndarray]:
    """Which entries are the same node, and one entry of each node; nodes of an item together."""
    if not len(item):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low = state.min()
    key = (item * (machine.max() + 1) + machine) * (state.max() - low + 1) + (state - low)
    _, first, target = np.unique(key, return_index=True, return_inverse=True)
    return target, first
