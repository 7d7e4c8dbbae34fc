"""The laws of a machine, against sums over every row of its alphabet.

φ(x) as the messages find it      = what its author says
Z, and p(x_i = v)                 = sums over all rows
the list of transitions           = the rules for a step, in both directions
the best path                     weighs as much as the best row, where each has one path
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.factors import Machine, Tilted, best, weigh
from sfumato.testing.comparisons import require

__all__ = ["check_machine", "every_row", "uneven_beliefs"]

TOLERANCE = 1e-9  # of chances; float64 sums of up to some thousand terms


def check_machine(
    machine: Machine,
    phi: Callable[[tuple[int, ...]], float],
    places: int,
    *,
    single: bool = False,
    batch: int = 3,
) -> None:
    """Checks every law above.

    Args:
        machine: What to check.
        phi: x ↦ φ(x), computed in some other way.
        places: L; there are K^L rows.
        single: Whether each row has at most one path.
        batch: How many beliefs to check at once.

    Raises:
        AssertionError: Naming the law that does not hold.
    """
    rows = every_row(machine.tokens, places)
    weights = torch.tensor([phi(tuple(row)) for row in rows.tolist()], dtype=torch.float64)
    close(machine, "φ(x) of every row", weigh(machine, rows).exp(), weights)
    tilted = Tilted(machine, uneven_beliefs(batch, places, machine.tokens))
    each = tilted.log_q[:, torch.arange(places), rows].sum(dim=-1) + weights.log()
    close(machine, "Z", tilted.log_partition.exp(), each.exp().sum(dim=1))
    if not bool(weights.any()):
        require(not bool(tilted.possible.any()), machine, "an empty language is impossible")
        return
    one_hot = torch.nn.functional.one_hot(rows, machine.tokens).double()
    wanted = torch.einsum("bn,nlk->blk", each.softmax(dim=1), one_hot)
    close(machine, "marginals", tilted.marginals().exp(), wanted)
    check_arcs(tilted)
    if single:
        x, weight = best(machine, tilted.log_q)
        close(machine, "weight of the best row", weight.exp(), each.amax(dim=1).exp())
        found = each.gather(1, (x.unsqueeze(1) == rows).all(dim=2).double().argmax(1, keepdim=True))
        close(machine, "the best row", found.squeeze(1).exp(), each.amax(dim=1).exp())


def check_arcs(tilted: Tilted) -> None:
    """The list of transitions says what the rules for a step say."""
    machine, states = tilted.machine, torch.arange(tilted.machine.states)
    for place in range(tilted.length):
        arcs = machine.arcs(place, states)
        require(bool((arcs.log_weight > -torch.inf).all()), machine, "arcs have positive weight")
        dense = torch.zeros(machine.states, machine.tokens, machine.states, dtype=torch.float64)
        where = (arcs.source, arcs.token, arcs.target)
        dense.index_put_(where, arcs.log_weight.exp(), accumulate=True)
        log_a, log_b = tilted.log_a[place], tilted.log_b[place + 1]
        a, b, q = log_a.exp(), log_b.exp(), tilted.log_q[:, place].exp()
        ahead = torch.einsum("bs,bv,svt->bt", a, q, dense)
        back = torch.einsum("bt,bv,svt->bs", b, q, dense)
        twist = torch.einsum("bs,bt,svt->bv", a, b, dense)
        close(machine, f"forward at place {place}", tilted.log_a[place + 1].exp(), ahead)
        close(machine, f"backward at place {place}", tilted.log_b[place].exp(), back)
        close(machine, f"tilt at place {place}", machine.tilt(place, log_a, log_b).exp(), twist)
        some = machine.arcs(place, states.flip(0)[::2])
        asked = states.flip(0)[::2][some.source].bincount(minlength=machine.states)
        wanted = arcs.source.bincount(minlength=machine.states).clone()
        wanted[states.flip(0)[1::2]] = 0
        require(torch.equal(asked, wanted), machine, "arcs of some states only")


def close(machine: Machine, law: str, found: Tensor, wanted: Tensor) -> None:
    """Requires equal numbers, relative to the largest."""
    if not wanted.numel():
        return
    gap = float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-300))
    require(gap <= TOLERANCE, machine, law, f"off by {gap:.2g} of the largest")


def every_row(tokens: int, places: int) -> Int[Tensor, "rows places"]:
    """All rows of an alphabet."""
    rows = list(itertools.product(range(tokens), repeat=places))
    return torch.tensor(rows, dtype=torch.long).reshape(len(rows), places)


def uneven_beliefs(
    batch: int, places: int, tokens: int, *, seed: int = 0
) -> Float[Tensor, "batch places tokens"]:
    """ln q that favours some tokens by a few nats; not normalised."""
    generator = torch.Generator().manual_seed(seed)
    return 1.5 * torch.randn(batch, places, tokens, generator=generator, dtype=torch.float64)
