"""Ways to go on at a place of a lattice: a history, a token, and where they lead.

What a way promises is its weight times what is expected of the rest of y. Nearly all promise next
to nothing: 200 histories, 64 tokens and a channel that may lose or insert make some 50,000 of which
a few thousand count. So first every history with a token is given the best that any arc of the
machine can promise it, and only pairs that pass are followed arc by arc. That leaves out the same
ways as looking at all of them.

Where nothing is known, most ways promise about the same, and there are many more than a beam can
hold. Then some are drawn before any is followed, and stand for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray

from sfumato.denoisers.sequential import Sequential
from sfumato.factors.base import Machine
from sfumato.inverse.tokens.nodes import Nodes, Step, highest
from sfumato.inverse.tokens.thinning import sampled, survivors

__all__ = ["Ways", "promising"]


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

    def joined(self, other: Ways) -> Ways:
        """These and others."""
        names = [entry.name for entry in fields(self)]
        return Ways(*(np.append(getattr(self, name), getattr(other, name)) for name in names))

    def weighed(self, factor: Float[ndarray, " n"]) -> Ways:
        """Those that are left when each is to stand for so many."""
        return replace(
            self, weight=self.weight * factor, promise=self.promise * factor,
            stands=self.stands * factor,
        ).pick(np.flatnonzero(factor))  # fmt: skip


def promising(
    chain: Sequential,
    machine: Machine | None,
    nodes: Nodes,
    live: Int[ndarray, " n"],
    step: Step,
    floor: float,
    size: int,
) -> tuple[Ways, Float[ndarray, " items"]]:
    """Ways out of the nodes ``live`` that promise more than a share ``floor`` of their item's best.

    Of an item's pairs of a node and a token about ``size`` are followed, if there are more.

    Where all promises of an item are empty, the coarse chain is wrong or nothing agrees with the
    row. Then the weights decide, until the place is reached where it shows.

    Returns:
        They, and what all ways of each item promise together.
    """
    ways, whole = foreseen(chain, machine, nodes, live, step, floor, size)
    blind = live[~(whole > 0)[nodes.item[live]]]
    if len(blind):
        unseen = replace(step, ahead=np.ones_like(step.ahead), accepting=None)
        more, alone = foreseen(chain, machine, nodes, blind, unseen, floor, size)
        ways, whole = ways.joined(more), whole + alone
    return ways, whole


def foreseen(
    chain: Sequential,
    machine: Machine | None,
    nodes: Nodes,
    live: Int[ndarray, " n"],
    step: Step,
    floor: float,
    size: int,
) -> tuple[Ways, Float[ndarray, " items"]]:
    """The same, by promises alone."""
    item, items = nodes.item[live], len(step.like)
    tokens = np.flatnonzero(step.like[np.unique(item)].any(axis=0))
    states, own = np.unique(nodes.state[live], return_inverse=True)
    probs, following = chain.follow(states)
    weight = columns(probs, tokens).take(own, axis=0)
    weight *= nodes.mass[live, None]
    if (step.like != 1).any():
        weight *= columns(step.like, tokens).take(item, axis=0)
    coarse = columns(chain.coarse.follow, tokens).take(nodes.coarse[live], axis=0)
    at = coarse if items == 1 else coarse + item[:, None] * step.ahead.shape[1]
    promise = weight * step.ahead.take(at)
    best, whole = promise, promise
    if machine is not None:
        arcs = Reading.of(machine, step, nodes.machine[live], floor)
        pair = arcs.row[:, None] * machine.tokens + tokens
        top, total = arcs.promises(pair, coarse)
        best = promise * top
        whole = best if total is top else promise * total
    least = floor * highest(best.max(axis=1, initial=0), item, items)
    some = np.flatnonzero(best > least[item, None])
    whose = None if items == 1 else item[some // len(tokens)]
    factor = survivors(whole.ravel()[some], whose, size, step.chance[0], rule=sampled)
    some, stands = some[factor > 0], factor[factor > 0]
    row, column = np.divmod(some, len(tokens))
    node, token, weight = live[row], tokens[column], weight.ravel()[some]
    ways = Ways(
        node, token, weight * stands, following[own[row], token], nodes.machine[node], item[row],
        coarse.ravel()[some], weight * nodes.peak[node] / nodes.mass[node], stands,
        promise.ravel()[some] * stands,
    )  # fmt: skip
    if machine is not None:
        ways = arcs.read(ways, pair.ravel()[some])
        ways = ways.pick(np.flatnonzero(ways.promise > least[ways.item] * ways.stands))
    return ways, np.bincount(item, whole.sum(axis=1), items).astype(float)


def columns(table: Shaped[ndarray, "n tokens"], tokens: Int[ndarray, " some"]) -> ndarray:
    """Some columns of a table; itself where these are all."""
    return table if len(tokens) == table.shape[1] else table.take(tokens, axis=1)


@dataclass(frozen=True, eq=False)
class Reading:
    """The arcs of a machine at a place, in the order of *pairs*: a state that is left, and a token.

    Args:
        row: Which of the states that are left each of those that were given is.
        step: The place.
        begin: Where the arcs of each pair begin, and their number.
        pair: The pair of each arc.
        target: Where it leads.
        factor: Its weight.
    """

    row: Int[ndarray, " given"]
    step: Step
    begin: Int[ndarray, " bounds"]
    pair: Int[ndarray, " arcs"]
    target: Int[ndarray, " arcs"]
    factor: Float[ndarray, " arcs"]

    @classmethod
    def of(cls, machine: Machine, step: Step, states: Int[ndarray, " n"], floor: float) -> Reading:
        """Arcs out of some states.

        Arcs that weigh less than the square of the floor beside the heaviest are left out: a
        channel may insert any number of letters before the next.
        """
        before, row = np.unique(states, return_inverse=True)
        arcs = machine.arcs(step.place, torch.from_numpy(before))
        factor = np.exp(arcs.log_weight.double().numpy())
        kept = np.flatnonzero(factor > floor**2 * factor.max(initial=0))
        pair = arcs.source.numpy()[kept] * machine.tokens + arcs.token.numpy()[kept]
        order = np.argsort(pair, kind="stable")
        kept, pair = kept[order], pair[order]
        begin = np.searchsorted(pair, np.arange(len(before) * machine.tokens + 1))
        return cls(row, step, begin, pair, arcs.target.numpy()[kept], factor[kept])

    def out_of(self, pair: Int[ndarray, " n"]) -> tuple[ndarray, ndarray]:
        """All arcs of some pairs: index of the pair, arc."""
        count = self.begin[pair + 1] - self.begin[pair]
        each = np.repeat(np.arange(len(pair)), count)
        skipped = np.repeat(self.begin[pair] - np.cumsum(count) + count, count)
        return each, skipped + np.arange(len(each))

    def worth(self, arc: Int[ndarray, " n"], coarse: Int[ndarray, " n"]) -> Float[ndarray, " n"]:
        """What arcs multiply promises with, if they lead to some coarse states."""
        accepting = self.step.accepting
        factor: ndarray = self.factor[arc]
        if accepting is not None:
            token = self.pair[arc] % self.step.like.shape[1]
            factor = factor * accepting.at(self.step.place, self.target[arc], coarse, token)
        return factor

    def promises(
        self, pair: Int[ndarray, "n tokens"], coarse: Int[ndarray, "n tokens"]
    ) -> tuple[ndarray, ndarray]:
        """The worth of each pair's best arc, and of all its arcs together; one array if equal."""
        accepting, pairs = self.step.accepting, len(self.begin) - 1
        if accepting is not None and accepting.by == "coarse":
            each, arc = self.out_of(pair.ravel())
            worth = self.worth(arc, coarse.ravel()[each])
            top, total = highest(worth, each, pair.size), np.bincount(each, worth, pair.size)
            return top.reshape(pair.shape), total.reshape(pair.shape)
        # arcs of one pair are worth the same to all histories
        every = np.arange(len(self.pair))
        worth = self.worth(every, np.zeros_like(every))
        total = np.bincount(self.pair, worth, pairs)[pair]
        if len(every) == 0 or np.diff(self.begin).max() == 1:
            return total, total
        return highest(worth, self.pair, pairs)[pair], total

    def read(self, ways: Ways, pair: Int[ndarray, " n"]) -> Ways:
        """Ways on from pairs, along every arc."""
        each, arc = self.out_of(pair)
        worth = self.worth(arc, ways.coarse[each])
        ways, factor = ways.pick(each), self.factor[arc]
        return replace(
            ways, machine=self.target[arc], weight=ways.weight * factor, peak=ways.peak * factor,
            promise=ways.promise * worth,
        )  # fmt: skip
