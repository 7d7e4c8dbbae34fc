"""Laws of ways to go on: looking at the best arc of a pair first leaves out what each arc would."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from numpy import ndarray

from sfumato.denoisers.sequential import MarkovSequence
from sfumato.factors import EditChannel, Edits, Machine
from sfumato.inverse.tokens.nodes import Nodes, Step
from sfumato.inverse.tokens.promises import Acceptance
from sfumato.inverse.tokens.ways import Ways, promising

K, STATES, FLOOR, PLACE, ALL = 4, 7, 0.003, 2, 10_000
RNG = np.random.default_rng(3)
CHAIN = MarkovSequence(
    torch.from_numpy(RNG.dirichlet(np.ones(K))), torch.from_numpy(RNG.dirichlet(np.ones(K), K))
)
CHANNEL = EditChannel(
    torch.from_numpy(RNG.dirichlet(np.full(K, 0.3), K)), lost=0.2, inserted=0.3,
    letters=torch.from_numpy(RNG.dirichlet(np.ones(K))),
)  # fmt: skip
EDITS = Edits(CHANNEL, torch.tensor([0, 2, 1, 3, 3, 0]))
CONTEXTS = {"coarse": K, "token": K, "nothing": 1}


def nodes() -> Nodes:
    """Twenty histories of two items."""
    item = np.repeat([0, 1], 10)
    state, mass = RNG.integers(K, size=20), RNG.dirichlet(np.full(10, 0.3), 2).ravel()
    return Nodes(item, state, state, RNG.integers(5, size=20), mass, mass)


def step(by: str | None) -> Step:
    accepting = None
    if by is not None:
        accepting = Acceptance(RNG.random((PLACE + 1, STATES, CONTEXTS[by])) ** 8, by)
    like = RNG.random((2, K))
    like[:, 1] = 0
    return Step(PLACE, like, RNG.random((2, K)), np.zeros(3), accepting)


def one_by_one(machine: Machine | None, before: Nodes, known: Step) -> ndarray:
    """Node, token, state of the machine and promise of every way, looked at alone."""
    probs, coarse = CHAIN.follow(np.arange(K))[0], CHAIN.coarse
    found = []
    for node in range(len(before)):
        arcs = [(v, 0, 1.0) for v in range(K)]
        if machine is not None:
            own = machine.arcs(PLACE, torch.tensor([before.machine[node]]))
            arcs = list(zip(*(part.tolist() for part in (own.token, own.target)),
                            own.log_weight.exp().tolist(), strict=True))  # fmt: skip
        for v, after, factor in arcs:
            item, state = before.item[node], before.state[node]
            c = coarse.follow[before.coarse[node], v]
            promise = before.mass[node] * probs[state, v] * factor
            promise *= known.like[item, v] * known.ahead[item, c]
            if known.accepting is not None:
                promise *= known.accepting.at(PLACE, *np.array([[after], [c], [v]]))[0]
            found.append((node, v, after, promise))
    return np.array(found)


@pytest.mark.parametrize(
    ("machine", "by"), [(None, None), (EDITS, "coarse"), (EDITS, "token"), (EDITS, "nothing")]
)
def test_of_each_item_the_ways_that_promise_enough_are_found_and_all_are_summed(
    machine: Machine | None, by: str | None
) -> None:
    before, known = nodes(), step(by)
    if machine is None:
        before = replace(before, machine=np.zeros(20, np.int64))
    every = one_by_one(machine, before, known)
    item = before.item[every[:, 0].astype(int)]
    best = np.array([every[item == i, 3].max() for i in range(2)])
    kept = every[every[:, 3] > FLOOR * best[item]]
    assert 20 < len(kept) < len(every) / 2
    ways, whole = promising(CHAIN, machine, before, np.arange(20), known, FLOOR, ALL)
    found = np.stack([ways.node, ways.token, ways.machine, ways.promise], axis=1)
    order = [np.lexsort(rows[:, 2::-1].T) for rows in (found, kept)]
    np.testing.assert_allclose(found[order[0]], kept[order[1]], rtol=1e-9)
    # arcs below the square of the floor are not looked at
    np.testing.assert_allclose(whole, np.bincount(item, every[:, 3], 2), rtol=1e-4)


def test_where_nothing_is_promised_weights_decide() -> None:
    before, known = nodes(), step("token")
    known.ahead[1] = 0
    seen = replace(known, ahead=np.ones_like(known.ahead), accepting=None)
    ways, _ = promising(CHAIN, EDITS, before, np.arange(20), known, FLOOR, ALL)
    expected, _ = promising(CHAIN, EDITS, before, np.arange(20), seen, FLOOR, ALL)
    assert set(ways.item) == {0, 1}
    for name in (entry.name for entry in fields(Ways)):
        np.testing.assert_allclose(
            getattr(ways, name)[ways.item == 1], getattr(expected, name)[expected.item == 1]
        )


@pytest.mark.parametrize("machine", [None, EDITS])
def test_ways_that_are_drawn_before_they_are_followed_weigh_as_much_in_the_mean(
    machine: Machine | None,
) -> None:
    before, known = nodes(), step(None)
    if machine is None:
        before = replace(before, machine=np.zeros(20, np.int64))
    live, size, draws = np.arange(20), 8, 400
    every, whole = promising(CHAIN, machine, before, live, known, FLOOR, ALL)
    assert (np.bincount(every.item) > 2 * size).all()
    mean = np.zeros((2, K))
    for u in (np.arange(draws) + 0.5) / draws:
        drawn = replace(known, chance=np.array([u, 0, 0]))
        few, same = promising(CHAIN, machine, before, live, drawn, FLOOR, size)
        np.testing.assert_array_equal(same, whole)
        pairs = {
            (item, node, token)
            for item, node, token in zip(few.item, few.node, few.token, strict=True)
        }
        assert max(np.bincount([item for item, _, _ in pairs])) <= size + 1
        np.add.at(mean, (few.item, few.token), few.weight / draws)
    expected = np.zeros((2, K))
    np.add.at(expected, (every.item, every.token), every.weight)
    np.testing.assert_allclose(mean, expected, rtol=0.02)
