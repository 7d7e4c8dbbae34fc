"""One place of a lattice: from the histories before a token to those after it.

A node stands for all histories of an item with the same state of the chain and of the machine; its
mass is p(state | y up to here). An arc is a node, a token and the node that it leads to. Of more
nodes than the beam holds, those that promise most are kept; of the others some are drawn, and stand
for those that were not.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from sfumato.denoisers.sequential import Sequential
from sfumato.factors.base import Machine
from sfumato.inverse.tokens.promises import Acceptance

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
        chance: Numbers in [0, 1) that decide which histories are kept.
        accepting: What states of the machine promise; ``None`` without one.
    """

    place: int
    like: Float[ndarray, "items tokens"]
    ahead: Float[ndarray, "items coarse"]
    chance: Float[ndarray, " 2"]
    accepting: Acceptance | None = None


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
    whole = np.bincount(ways.item, ways.promise, items)
    ways, target, first = thinned(promised(ways, items, floor), beam, step.chance)
    own = np.bincount(ways.item, ways.promise / ways.stands, items)
    lost = 1 - own / np.where(whole > 0, whole, 1)
    joint, kept = shares(ways.weight, ways.item, items)
    peak = ways.peak / highest(ways.peak, ways.item, items)[ways.item]
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
        peak: Weight of the likeliest history alone that goes on in this way.
        stands: For how many like itself it stands: what its weight was multiplied by.
        promise: Weight times what is expected of the rest.
    """

    node: Int[ndarray, " n"]
    token: Int[ndarray, " n"]
    weight: Float[ndarray, " n"]
    state: Int[ndarray, " n"]
    machine: Int[ndarray, " n"]
    item: Int[ndarray, " n"]
    coarse: Int[ndarray, " n"]
    peak: Float[ndarray, " n"]
    stands: Float[ndarray, " n"]
    promise: Float[ndarray, " n"]

    def pick(self, index: Int[ndarray, " _"]) -> Ways:
        """Some of them."""
        return Ways(*(getattr(self, entry.name)[index] for entry in fields(self)))

    def weighed(self, factor: Float[ndarray, " n"]) -> Ways:
        """Those that are left when each is to stand for so many."""
        return replace(
            self, weight=self.weight * factor, promise=self.promise * factor,
            stands=self.stands * factor,
        ).pick(np.flatnonzero(factor))  # fmt: skip


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
    peak = weight * nodes.peak[node] / nodes.mass[node]
    one = np.ones(len(node))
    return Ways(node, token, weight, state, after, nodes.item[node], node, peak, one, weight)


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
    if step.accepting is not None:
        ahead = ahead * step.accepting.at(step.place, ways.machine, coarse, ways.token)
    some = highest(ways.weight * ahead, ways.item, len(step.like)) > 0
    promise = ways.weight * np.where(some[ways.item], ahead, 1)
    return replace(ways, coarse=coarse, promise=promise)


def promised(ways: Ways, items: int, floor: float) -> Ways:
    """Those that promise at least a share ``floor`` of their item's best."""
    best = highest(ways.promise, ways.item, items)
    return ways.pick(np.flatnonzero(ways.promise > floor * best[ways.item]))


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


def highest(values: ndarray, group: ndarray, groups: int) -> Float[ndarray, " groups"]:
    """The highest value of each group, 0 where it has none."""
    found = np.zeros(groups)
    np.maximum.at(found, group, values)
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
