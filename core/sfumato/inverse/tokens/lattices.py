"""Exact sums over all texts under a chain prior, as far as the beam holds.

    p(x | y) ∝ p(x) Π_i ℓ_i(x_i) φ(x)

Forwards, a layer of nodes after every place; then back, since an arc's share of its target's mass
does not depend on what comes later:

    p(arc | y) = p(arc | y up to here) / p(target | y up to here) · p(target | y).

The same ratios draw: choose a node at the end, then an arc into it, and so on to the beginning.
What the beam leaves out is chosen by what the coarse chain promises for the rest of y, so that a
history is not dropped for a poor start that what follows demands. The coarse chain decides what is
kept, never what it weighs. Of the histories that promise little some are drawn and stand for the
others: then the evidence has the right mean however few are kept, which leaving out the poorest
does not give, and long open stretches read as the chain writes.

Memory: layers of one window of places. Longer rows are filtered twice, from nodes kept at the start
of every window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from sfumato.denoisers.sequential import Sequential
from sfumato.errors import ImpossibleError
from sfumato.factors.base import Machine
from sfumato.inverse.tokens.backward import Backward
from sfumato.inverse.tokens.layers import expand
from sfumato.inverse.tokens.nodes import Layer, Nodes, Step, shares
from sfumato.inverse.tokens.promises import Acceptance, acceptance, lookahead

__all__ = ["Limits", "Rows", "Smoothed", "smooth"]

REACH = 48  # places beyond a window that looking ahead takes into account


@dataclass(frozen=True, eq=False)
class Rows:
    """What is known of some rows.

    Args:
        sites: ln ℓ_i(v), ``[items, length, tokens]``; what is beyond a row's own length is ignored.
        lengths: Length of each row.
        machine: φ, the same for all rows; rows must then be equally long.
        names: What errors call the rows; 0, 1, … if not given.
    """

    sites: Float[ndarray, "items length tokens"]
    lengths: Int[ndarray, " items"]
    machine: Machine | None = None
    names: Int[ndarray, " items"] | None = None

    def name(self, row: int) -> int:
        """What errors call a row."""
        return row if self.names is None else int(self.names[row])


@dataclass(frozen=True, eq=False)
class Smoothed:
    """The posterior of some rows.

    Args:
        marginals: p(x_i = v | y), ``[items, length, tokens]``; zeros beyond a row's length.
        draws: Samples, ``[samples, length]``; zeros beyond the length.
        best: The likeliest row, ``[items, length]``; zeros beyond the length.
        log_evidence: ln of an estimate of p(y), which is unbiased but for what is below the floor;
            exact if nothing was left out.
        lost: Share of the mass that others stand for or that fell below the floor, summed over
            places, per item.
    """

    marginals: Float[ndarray, "items length tokens"]
    draws: Int[ndarray, "samples length"]
    best: Int[ndarray, "items length"]
    log_evidence: Float[ndarray, " items"]
    lost: Float[ndarray, " items"]


@dataclass(frozen=True)
class Limits:
    """How much a lattice may hold.

    Args:
        beam: Nodes per item and place.
        floor: Continuations that promise less than this share of the best are left out.
        window: Places whose layers are held in memory.
        seed: Of the numbers that decide which histories stand for others.
    """

    beam: int = 200
    floor: float = 1e-7
    window: int = 1024
    seed: int = 0


def smooth(
    chain: Sequential,
    rows: Rows,
    limits: Limits,
    *,
    owner: Int[ndarray, " samples"] | None = None,
    uniforms: Float[ndarray, "samples _"] | None = None,
) -> Smoothed:
    """Marginals, evidence and samples.

    Args:
        chain: The prior.
        rows: What is known.
        limits: What is held.
        owner: Row of each sample; none if not given.
        uniforms: Numbers in [0, 1), one for each place of a sample and one for its end, which comes
            last, ``[samples, length + 1]``.

    Raises:
        ImpossibleError: If nothing agrees with a row; names the item and the place.
    """
    search = Search(chain, rows, limits)
    checkpoints, log_evidence, lost = search.filter()
    owner = np.zeros(0, np.int64) if owner is None else owner
    uniforms = np.zeros((len(owner), rows.sites.shape[1] + 1)) if uniforms is None else uniforms
    back = Backward(rows.sites.shape, rows.lengths, search.final, owner, uniforms)
    for start, nodes in reversed(checkpoints):
        layers = search.kept if search.kept_from == start else search.window_of(nodes, start)[0]
        for place in range(start + len(layers) - 1, start - 1, -1):
            before = layers[place - start - 1].nodes if place > start else nodes
            back.step(place, layers[place - start], before)
    return Smoothed(back.marginals, back.draws, back.best, log_evidence, lost)


class Search:
    """Filters forwards, window by window."""

    def __init__(self, chain: Sequential, rows: Rows, limits: Limits) -> None:
        self.chain, self.rows, self.limits = chain, rows, limits
        self.length = int(rows.lengths.max(initial=0))
        self.kept: list[Layer] = []
        self.kept_from = -1
        # the first numbers are the same however long the longest row is
        self.chance = np.random.default_rng(limits.seed).random((self.length, 3))
        machine = rows.machine
        self.accepting: Acceptance | None = None
        if machine is not None:
            together = np.logaddexp.reduce(rows.sites, axis=0)
            self.accepting = acceptance(machine, chain.coarse, together)
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
        mass = mass / total[item]
        return Nodes(
            item, state, self.chain.coarsen(state), np.tile(machine, n * len(states)), mass, mass
        )

    def filter(self) -> tuple[list[tuple[int, Nodes]], ndarray, ndarray]:
        """Nodes at the start of every window, ln p(y), and what was left out."""
        nodes = self.start()
        log_evidence, lost = self.begun.copy(), np.zeros(len(self.rows.lengths))
        checkpoints = []
        for start in range(0, max(self.length, 1), self.limits.window):
            checkpoints.append((start, nodes))
            layers, gained, gone = self.window_of(nodes, start)
            log_evidence, lost = log_evidence + gained, lost + gone
            self.kept, self.kept_from = layers, start
            if layers:
                nodes = layers[-1].nodes
        return checkpoints, log_evidence, lost

    def window_of(self, nodes: Nodes, start: int) -> tuple[list[Layer], ndarray, ndarray]:
        """The layers of one window, what they add to ln p(y), and the share left out."""
        stop = min(start + self.limits.window, self.length)
        like, scale = self.likelihoods(start, min(stop + REACH, self.length))
        ahead = lookahead(self.chain.coarse, like, self.rows.lengths - start)
        layers: list[Layer] = []
        gained, lost = np.zeros(len(self.rows.lengths)), np.zeros(len(self.rows.lengths))
        for place in range(start, stop):
            i = place - start
            step = Step(place, like[:, i], ahead[i], self.chance[place], self.accepting)
            going = self.rows.lengths > place
            live = np.flatnonzero(going[nodes.item])
            layer, total, gone = expand(
                self.chain,
                self.rows.machine,
                nodes,
                live,
                step,
                beam=self.limits.beam,
                floor=self.limits.floor,
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
                "evidence", f"at place {place} of item {self.rows.name(int(stuck[0]))}",
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
                "evidence", f"at place {place + start} of item {self.rows.name(int(item))}",
                "give at least one token a likelihood above 0",
            )  # fmt: skip
        top = np.where(beyond, 0.0, top)
        like = np.exp(np.where(beyond[..., None], 0.0, sites) - top[..., None])
        return like, top
