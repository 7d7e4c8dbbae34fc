"""Back through a lattice: what every arc is worth when all of y is known, samples, likeliest rows.

An arc's share of its target does not depend on what comes later. So the posterior of the nodes
after a place gives that of the arcs, and theirs that of the nodes before.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from sfumato.inverse.tokens.nodes import Layer, Nodes, shares

__all__ = ["Backward"]


class Backward:
    """Smooths and draws, place by place from the end."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        lengths: Int[ndarray, " items"],
        final: Float[ndarray, " states"] | None,
        owner: Int[ndarray, " samples"],
        uniforms: Float[ndarray, "samples _"],
    ) -> None:
        items, length, tokens = shape
        self.lengths, self.final, self.last = lengths, final, int(lengths.max(initial=0)) - 1
        self.owner, self.uniforms = owner, uniforms
        self.marginals = np.zeros((items, length, tokens))
        self.draws = np.zeros((len(owner), length), np.int64)
        self.belief: ndarray = np.empty(0)  # p(node | y) after the place
        self.at = np.full(len(owner), -1)  # node of each sample
        self.best = np.zeros((items, length), np.int64)
        self.top = np.full(items, -1)  # node of each item's likeliest row

    def step(self, place: int, layer: Layer, before: Nodes) -> None:
        """Takes one place."""
        nodes, lengths = layer.nodes, self.lengths
        belief = np.zeros(len(nodes)) if place == self.last else self.belief
        ends = lengths == place + 1
        if ends.any():
            mass = nodes.mass if self.final is None else (
                nodes.mass * self.final[nodes.machine]
            )  # fmt: skip
            last, _ = shares(np.where(ends[nodes.item], mass, 0), nodes.item, len(lengths))
            belief = np.where(ends[nodes.item], last, belief)
            self.begin(np.flatnonzero(ends[self.owner]), last, nodes)
            final = mass / np.where(nodes.mass > 0, nodes.mass, 1) * nodes.peak
            self.top = np.where(ends, top_entry(final, nodes.item, len(ends)), self.top)
        ratio = belief / np.where(nodes.mass > 0, nodes.mass, 1)
        smoothed = layer.joint * ratio[layer.target]
        item = nodes.item[layer.target]
        cell = item * self.marginals.shape[2] + layer.token
        counts = np.bincount(cell, smoothed, self.marginals[:, 0].size)
        self.marginals[:, place] = counts.reshape(self.marginals[:, 0].shape)
        self.belief = np.bincount(layer.source, smoothed, len(before))
        self.draw(place, layer, np.flatnonzero(lengths[self.owner] > place))
        going = np.flatnonzero(lengths > place)
        arc = top_entry(layer.peak, layer.target, len(nodes))[self.top[going]]
        self.best[going, place], self.top[going] = layer.token[arc], layer.source[arc]

    def begin(self, samples: ndarray, last: ndarray, nodes: Nodes) -> None:
        """Chooses a node for the samples whose rows end here."""
        order = np.argsort(nodes.item, kind="stable")
        bounds = np.searchsorted(nodes.item[order], np.arange(len(self.lengths) + 1))
        self.at[samples] = order[
            chosen(last[order], bounds, self.owner[samples], self.uniforms[samples, -1])
        ]

    def draw(self, place: int, layer: Layer, samples: ndarray) -> None:
        """Chooses an arc into the node of every sample."""
        if not len(samples):
            return
        order = np.argsort(layer.target, kind="stable")
        bounds = np.searchsorted(layer.target[order], np.arange(len(layer.nodes) + 1))
        u = self.uniforms[samples, place]
        arc = order[chosen(layer.joint[order], bounds, self.at[samples], u)]
        self.draws[samples, place] = layer.token[arc]
        self.at[samples] = layer.source[arc]


def chosen(weight: ndarray, bounds: ndarray, group: ndarray, u: ndarray) -> Int[ndarray, " n"]:
    """An entry of each group, drawn by inversion of the distribution function."""
    ends = np.concatenate([[0.0], np.cumsum(weight)])
    low, high = ends[bounds[group]], ends[bounds[group + 1]]
    found = np.searchsorted(ends, low + u * (high - low), side="right") - 1
    return np.asarray(np.clip(found, bounds[group], bounds[group + 1] - 1))


def top_entry(values: ndarray, group: ndarray, groups: int) -> Int[ndarray, " groups"]:
    """The entry of each group with its highest value, the first of equals; −1 where it has none."""
    order = np.lexsort((-values, group))
    found = np.full(groups, -1)
    first = np.flatnonzero(np.append(True, group[order][1:] != group[order][:-1]))[: len(order)]
    found[group[order[first]]] = order[first]
    return found
