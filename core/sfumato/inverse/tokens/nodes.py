"""Nodes and arcs of a lattice.

A node stands for all histories of an item with the same state of the chain and of the machine; its
mass is p(state | y up to here). An arc is a node, a token and the node that it leads to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from sfumato.inverse.tokens.promises import Acceptance

__all__ = ["Layer", "Nodes", "Step", "highest", "shares"]


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
    chance: Float[ndarray, " 3"]
    accepting: Acceptance | None = None


def shares(mass: ndarray, item: ndarray, items: int) -> tuple[ndarray, ndarray]:
    """Masses divided by their item's total, and the totals."""
    total = np.bincount(item, mass, items)
    return mass / np.where(total > 0, total, 1)[item], total


def highest(values: ndarray, group: ndarray, groups: int) -> Float[ndarray, " groups"]:
    """The highest value of each group, 0 where it has none."""
    found = np.zeros(groups)
    np.maximum.at(found, group, values)
    return found
