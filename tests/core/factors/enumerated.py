"""All rows of a small alphabet, and what a machine says about them."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.factors import Machine, Tilted, best, log_partition, marginals, weigh

Phi = Callable[[tuple[int, ...]], float]


def rows(tokens: int, length: int) -> Tensor:
    """All rows, [tokens^length, length]."""
    every = list(itertools.product(range(tokens), repeat=length))
    return torch.tensor(every, dtype=torch.long).reshape(len(every), length)


def beliefs(batch: int, length: int, tokens: int, seed: int = 0) -> Tensor:
    """Random ln q, not normalised."""
    g = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn(batch, length, tokens, generator=g, dtype=torch.float64)


def logs(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).log()


def same(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted.to(got), rtol=1e-9, atol=1e-9)


def check_machine(machine: Machine, phi: Phi, length: int, *, batch: int = 3) -> Tensor:
    """Everything that messages say against sums over all rows; returns ln p of all rows."""
    every = rows(machine.tokens, length)
    weights = logs([phi(tuple(row)) for row in every.tolist()])
    same(weigh(machine, every), weights)
    log_q = beliefs(batch, length, machine.tokens)
    each = log_q[:, torch.arange(length), every].sum(dim=-1) + weights
    same(log_partition(machine, log_q), torch.logsumexp(each, dim=1))
    if bool((weights == -torch.inf).all()):
        return each
    posterior = each.log_softmax(dim=1)
    hot = torch.nn.functional.one_hot(every, machine.tokens).double()
    same(marginals(machine, log_q).exp(), torch.einsum("bn,nlk->blk", posterior.exp(), hot))
    check_arcs(machine, log_q)
    return posterior


def check_arcs(machine: Machine, log_q: Tensor) -> None:
    """The list of transitions says what the messages say."""
    tilted = Tilted(machine, log_q)
    states = torch.arange(machine.states)
    for place in range(log_q.shape[1]):
        arcs = machine.arcs(place, states)
        assert (arcs.log_weight > -torch.inf).all()
        dense = torch.zeros(machine.states, machine.tokens, machine.states, dtype=torch.float64)
        where = (states[arcs.source], arcs.token, arcs.target)
        dense.index_put_(where, arcs.log_weight.exp(), accumulate=True)
        a, b = tilted.log_a[place].exp(), tilted.log_b[place + 1].exp()
        q = log_q[:, place].exp()
        same(tilted.log_a[place + 1].exp(), torch.einsum("bs,bv,svt->bt", a, q, dense))
        same(tilted.log_b[place].exp(), torch.einsum("bt,bv,svt->bs", b, q, dense))
        twist = machine.tilt(place, tilted.log_a[place], tilted.log_b[place + 1])
        same(twist.exp(), torch.einsum("bs,bt,svt->bv", a, b, dense))
        few = states[::2]
        some = machine.arcs(place, few)
        assert len(some.source) == int((arcs.source % 2 == 0).sum())


def check_best(machine: Machine, posterior: Tensor, length: int, *, batch: int = 3) -> None:
    """Viterbi finds the most probable row, for machines with one path for each."""
    x, weight = best(machine, beliefs(batch, length, machine.tokens))
    every = rows(machine.tokens, length)
    assert torch.equal(x, every[posterior.argmax(dim=1)])
    partition = log_partition(machine, beliefs(batch, length, machine.tokens))
    same(weight - partition, posterior.amax(dim=1))
