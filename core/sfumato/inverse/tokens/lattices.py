"""Exact sums over all texts under a chain prior, as far as the beam holds.

    p(x | y) ∝ p(x) Π_i ℓ_i(x_i) φ(x)

Forwards, a layer of nodes after every place; then back, since an arc's share of its target's mass
does not depend on what comes later:

    p(arc | y) = p(arc | y up to here) / p(target | y up to here) · p(target | y).

The same ratios draw: choose a node at the end, then an arc into it, and so on to the beginning.
What the beam leaves out is chosen by what the coarse chain promises for the rest of y, so that a
history is not dropped for a poor start that what follows demands. The coarse chain decides what is
kept, never what it weighs.

Memory: layers of one window of places. Longer rows are filtered twice, from nodes kept at the start
of every window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from sfumato.denoisers.sequential import Sequential
from sfumato.errors import ImpossibleError
from sfumato.factors.base import Machine
from sfumato.inverse.tokens.nodes import Layer, Nodes, Step, expand, shares

__all__ = ["Rows", "Smoothed", "smooth"]

REACH = 48  # places beyond a window that looking ahead takes into account


@dataclass(frozen=True, eq=False)
class Rows:
    """What is known of some rows.

    Args:
        sites: ln ℓ_i(v), ``[items, length, tokens]``; what is beyond a row's own length is ignored.
        lengths: Length of each row.
        machine: φ, the same for all rows; rows must then be equally long.
    """

    sites: Float[ndarray, "items length tokens"]
    lengths: Int[ndarray, " items"]
    machine: Machine | None = None


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The posterior of some rows.

    Args:
        marginals: p(x_i = v | y), ``[items, length, tokens]``; zeros beyond a row's length.
        draws: Samples, ``[samples, length]``; zeros beyond the length.
        log_evidence: ln p(y), a lower bound where something was left out.
        lost: Share of the mass that the beam left out, summed over places, per item.
    """

    marginals: Float[ndarray, "items length tokens"]
    draws: Int[ndarray, "samples length"]
    log_evidence: Float[ndarray, " items"]
    lost: Float[ndarray, " items"]


def smooth(
    chain: Sequential, rows: Rows, *, beam: int = 200, floor: float = 1e-7, window: int = 1024,
    owner: Int[ndarray, " samples"] | None = None, uniforms: Float[ndarray, "samples _"] | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Smoothed:  # fmt: skip
    """Marginals, evidence and samples.

    Args:
        chain: The prior.
        rows: What is known.
        beam: Nodes per item and place; twice as many where the coarse ones are counted.
        floor: Continuations that promise less than this share of the best are left out.
        window: Places whose layers are held in memory.
        owner: Row of each sample; none if not given.
        uniforms: Numbers in [0, 1), one per sample and place and one more, ``[samples, length + 1]``.
        progress: Told the number of places done and of all.

    Raises:
        ImpossibleError: If nothing agrees with a row; names the item and the place.
    """  # noqa: E501
    search = Search(chain, rows, beam, floor, window)
    checkpoints, log_evidence, lost = search.filter(progress)
    owner = np.zeros(0, np.int64) if owner is None else owner
    uniforms = np.zeros((len(owner), rows.sites.shape[1] + 1)) if uniforms is None else uniforms
    back = Backward(search, owner, uniforms)
    for start, nodes in reversed(checkpoints):
        layers = search.kept if search.kept_from == start else search.window_of(nodes, start)[0]
        for place in range(start + len(layers) - 1, start - 1, -1):
            before = layers[place - start - 1].nodes if place > start else nodes
            back.step(place, layers[place - start], before)
    return Smoothed(back.marginals, back.draws, log_evidence, lost)


class Search:
    """Filters forwards, window by window."""

    def __init__(
        self, chain: Sequential, rows: Rows, beam: int, floor: float, window: int
    ) -> None:
        self.chain, self.rows, self.beam, self.floor = chain, rows, beam, floor
        self.length = int(rows.lengths.max(initial=0))
        self.size = window
        self.kept: list[Layer] = []
        self.kept_from = -1
        machine = rows.machine
        self.potentials = None if machine is None else potentials(machine, rows, chain)
        self.final = None if machine is None else np.exp(machine.final.double().numpy())

    def start(self) -> Nodes:
        """The nodes before the first place."""
        states, weights = self.chain.initial()
        machine, factor = np.zeros(1, np.int64), np.ones(1)
        if self.rows.machine is not None:
            initial = np.exp(self.rows.machine.initial.double().numpy())
            machine = np.flatnonzero(initial)
            factor = initial[machine]
        n = len(self.rows.lengths)
        each = len(states) * len(machine)
        item = np.repeat(np.arange(n), each)
        state = np.tile(np.repeat(states, len(machine)), n)
        mass = np.tile(np.outer(weights, factor).ravel(), n)
        total = np.bincount(item, mass, n)
        self.begun = np.log(total)
        nodes = Nodes(item, state, self.chain.coarsen(state), np.tile(machine, n * len(states)), mass)
        return Nodes(nodes.item, nodes.state, nodes.coarse, nodes.machine, mass / total[item])

    def filter(
        self, progress: Callable[[int, int], object] | None
    ) -> tuple[list[tuple[int, Nodes]], ndarray, ndarray]:
        """Nodes at the start of every window, ln p(y), and what was left out."""
        nodes = self.start()
        log_evidence, lost = self.begun.copy(), np.zeros(len(self.rows.lengths))
        checkpoints = []
        for start in range(0, max(self.length, 1), self.size):
            checkpoints.append((start, nodes))
            layers, gained, gone = self.window_of(nodes, start)
            log_evidence, lost = log_evidence + gained, lost + gone
            self.kept, self.kept_from = layers, start
            if layers:
                nodes = layers[-1].nodes
            if progress is not None:
                progress(min(start + self.size, self.length), self.length)
        return checkpoints, log_evidence, lost

    def window_of(self, nodes: Nodes, start: int) -> tuple[list[Layer], ndarray, ndarray]:
        """The layers of one window, what they add to ln p(y), and the share left out."""
        stop = min(start + self.size, self.length)
        like, scale = self.likelihoods(start, min(stop + REACH, self.length))
        ahead = self.lookahead(like, start)
        layers: list[Layer] = []
        gained, lost = np.zeros(len(self.rows.lengths)), np.zeros(len(self.rows.lengths))
        for place in range(start, stop):
            i = place - start
            potential = None if self.potentials is None else self.potentials[place + 1]
            step = Step(place, like[:, i], ahead[i], potential)
            going = self.rows.lengths > place
            live = np.flatnonzero(going[nodes.item])
            layer, total, gone = expand(
                self.chain, self.rows.machine, nodes, live, step, self.beam, self.floor
            )
            self.check(going, total, place)
            with np.errstate(divide="ignore"):
                gained += np.where(going, np.log(np.where(going, total, 1)) + scale[:, i], 0)
            lost += np.where(going, gone, 0)
            layers.append(layer)
            nodes = layer.nodes
            if self.final is not None and place == self.length - 1:
                _, ended = shares(nodes.mass * self.final[nodes.machine], nodes.item, len(gained))
                self.check(going, ended, place)
                gained += np.log(ended)
        return layers, gained, lost

    def check(self, going: ndarray, total: ndarray, place: int) -> None:
        """Refuses evidence that no history agrees with."""
        if (stuck := np.flatnonzero(going & ~(total > 0))).size:
            raise ImpossibleError(
                "evidence", f"at place {place} of item {stuck[0]}",
                "check its likelihoods and patterns, or widen the beam",
            )  # fmt: skip

    def likelihoods(self, start: int, stop: int) -> tuple[ndarray, ndarray]:
        """ℓ of some places, divided by its highest value, and the ln of that."""
        sites = self.rows.sites[:, start:stop]
        top = sites.max(axis=-1, initial=-np.inf)
        beyond = np.arange(start, stop) >= self.rows.lengths[:, None]
        bad = ~np.isfinite(top) & ~beyond
        if bad.any():
            item, place = np.argwhere(bad)[0]
            raise ImpossibleError(
                "evidence", f"at place {place + start} of item {item}",
                "give at least one token a likelihood above 0",
            )  # fmt: skip
        top = np.where(beyond, 0.0, top)
        like = np.exp(np.where(beyond[..., None], 0.0, sites) - top[..., None])
        return like, top

    def lookahead(self, like: ndarray, start: int) -> Float[ndarray, "places items coarse"]:
        """p(y after each place | coarse state there), each divided by its largest."""
        coarse = self.chain.coarse
        items, places, _ = like.shape
        ahead = np.ones((places, items, len(coarse.probs)))
        for item in range(items):
            b = ahead[-1, item]
            for i in range(min(places, int(self.rows.lengths[item]) - start) - 2, -1, -1):
                tokens = np.flatnonzero(like[item, i + 1] > 1e-12)
                if len(tokens) == like.shape[2]:
                    b = np.einsum("cv,cv,v->c", coarse.probs, b[coarse.follow], like[item, i + 1])
                else:
                    part = coarse.probs[:, tokens] * b[coarse.follow[:, tokens]]
                    b = part @ like[item, i + 1, tokens]
                b = b / b.max() if b.max() > 0 else np.ones_like(b)
                ahead[i, item] = b
        return ahead


def potentials(machine: Machine, rows: Rows, chain: Sequential) -> Float[ndarray, "places states"]:
    """What each state of the machine promises for the rest, if tokens were independent."""
    length = int(rows.lengths.max(initial=0))
    common = np.log(np.maximum(chain.coarse.probs.mean(axis=0), 1e-12))
    log_b = machine.final.double().unsqueeze(0)
    found = [np.exp(relative(log_b.numpy()[0]))]
    for place in range(length - 1, -1, -1):
        belief = torch.from_numpy(np.logaddexp.reduce(rows.sites[:, place], axis=0) + common)
        log_b = machine.backward(place, log_b, belief.log_softmax(dim=0).unsqueeze(0))
        log_b = torch.from_numpy(relative(log_b.numpy()))
        found.append(np.exp(log_b.numpy()[0]))
    return np.array(found[::-1])


def relative(logs: ndarray) -> ndarray:
    """Logarithms less their largest, unless all are −∞."""
    top = logs.max()
    return logs - top if np.isfinite(top) else logs


class Backward:
    """Smooths and draws, place by place from the end."""

    def __init__(self, search: Search, owner: ndarray, uniforms: ndarray) -> None:
        self.search, self.owner, self.uniforms = search, owner, uniforms
        items, length, tokens = search.rows.sites.shape
        self.marginals = np.zeros((items, length, tokens))
        self.draws = np.zeros((len(owner), length), np.int64)
        self.belief = np.empty(0)  # p(node | y) after the place
        self.at = np.full(len(owner), -1)  # node of each sample

    def step(self, place: int, layer: Layer, before: Nodes) -> None:
        """Takes one place."""
        nodes, lengths = layer.nodes, self.search.rows.lengths
        belief = np.zeros(len(nodes)) if place == self.search.length - 1 else self.belief
        ends = lengths == place + 1
        if ends.any():
            mass = nodes.mass if self.search.final is None else (
                nodes.mass * self.search.final[nodes.machine]
            )  # fmt: skip
            last, _ = shares(np.where(ends[nodes.item], mass, 0), nodes.item, len(lengths))
            belief = np.where(ends[nodes.item], last, belief)
            self.begin(np.flatnonzero(ends[self.owner]), last, nodes)
        ratio = belief / np.where(nodes.mass > 0, nodes.mass, 1)
        smoothed = layer.joint * ratio[layer.target]
        item = nodes.item[layer.target]
        cell = item * self.marginals.shape[2] + layer.token
        counts = np.bincount(cell, smoothed, self.marginals[:, 0].size)
        self.marginals[:, place] = counts.reshape(self.marginals[:, 0].shape)
        self.belief = np.bincount(layer.source, smoothed, len(before))
        self.draw(place, layer, np.flatnonzero(lengths[self.owner] > place))

    def begin(self, samples: ndarray, last: ndarray, nodes: Nodes) -> None:
        """Chooses a node for the samples whose rows end here."""
        order = np.argsort(nodes.item, kind="stable")
        bounds = np.searchsorted(nodes.item[order], np.arange(len(self.search.rows.lengths) + 1))
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
    return np.clip(found, bounds[group], bounds[group + 1] - 1)
