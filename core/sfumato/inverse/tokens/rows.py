"""A problem that can be asked about many states of each item.

Particles, hypotheses and chains are rows of one batch, so that the network sees them together.
Rows that are equal are asked about once: at the start all particles of an item are the same, and
where a gap is short they often are later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from sfumato import draws
from sfumato.denoisers.categorical import visible
from sfumato.inverse.tokens.evidence import real_places
from sfumato.inverse.tokens.levels import shown
from sfumato.inverse.tokens.outlooks import Outlook
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem
from sfumato.noise import Streams
from sfumato.processes.categorical import TokenLevel
from sfumato.samplers.tokens.base import absorbing

__all__ = ["Rows", "alike", "certain", "ranks", "together"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Several states of each item.

    Args:
        problem: What is known; ``ready`` has looked at it.
        count: Rows of each item, one after the other.
    """

    problem: TokenProblem
    count: int = 1

    @cached_property
    def real(self) -> Bool[Tensor, "items *x"]:
        """Places that exist."""
        return real_places(self.problem)

    @cached_property
    def item(self) -> Int[Tensor, " rows"]:
        """Which item each row belongs to."""
        items = torch.arange(len(self.problem.sites), device=self.problem.sites.device)
        return items.repeat_interleave(self.count)

    @cached_property
    def sites(self) -> Float[Tensor, "rows *x tokens"]:
        """ln ℓ of each row."""
        return self.problem.sites[self.item]

    @cached_property
    def hidden(self) -> Bool[Tensor, "items *x"]:
        """Places that exist and are not known."""
        return self.real & ~self.problem.known

    @cached_property
    def given(self) -> Int[Tensor, "items *x"]:
        """MASK at hidden places, the token at known ones, 0 at places that don't exist."""
        token = torch.where(self.real, self.problem.sites.argmax(dim=-1), 0)
        return torch.where(self.hidden, self.problem.denoiser.process.tokens, token)

    def apart(self, value: Shaped[Tensor, "rows *rest"]) -> Shaped[Tensor, "items count *rest"]:
        """A value of each row, by items."""
        return value.reshape(-1, self.count, *value.shape[1:])

    def repeated(self, value: Tensor) -> Tensor:
        """A value of each item, for each of its rows."""
        return value[self.item]

    def beliefs(
        self, x: Int[Tensor, "rows *x"], level: TokenLevel | None = None
    ) -> Float[Tensor, "rows *x tokens"]:
        """ln p(x₀,i | x), float64; certain of token 0 at places that don't exist.

        Args:
            x: States.
            level: Their level, one for all; of an absorbing process the level is what is shown.
        """
        some, item, back = distinct(x, self.item)
        return self.ask(some, item, level)[back]

    def outlook(self, x: Int[Tensor, "rows *x"], level: TokenLevel | None = None) -> Outlook:
        """What the evidence makes of the beliefs about each row."""
        some, item, back = distinct(x, self.item)
        log_q = self.ask(some, item, level) + self.problem.sites[item]
        return Outlook.of(log_q, self.problem.machine).select(back)

    def worth(self, x: Int[Tensor, "rows *x"]) -> Float[Tensor, " rows"]:
        """ln p(y | x) of clean states: sites, machine and expert together."""
        return self.problem.select(self.item.tolist()).log_evidence_of(x)

    def spread(self, x: Int[Tensor, "rows *x"], streams: Streams) -> Float[Tensor, "rows *x"]:
        """Uniform numbers, spread evenly over rows that are equal (a Latin hypercube).

        Of m equal rows each gets, at every place, another m-th of [0, 1), in random order. For each
        row they are independent and uniform, as they must be; together they have less chance in
        them (McKay, Beckman & Conover, 1979).
        """
        shape = (len(streams), self.count, *x.shape[1:])
        chance = draws.uniform(x.reshape(shape), streams).flatten(0, 1)
        jitter = draws.uniform(x.reshape(shape), streams).flatten(0, 1)
        _, _, group = distinct(x, self.item)
        size = group.bincount()
        start = size.cumsum(dim=0) - size
        wide = (-1, *(1,) * (x.ndim - 1))
        rank = (group.reshape(wide) + chance).argsort(dim=0).argsort(dim=0)
        return (rank - start[group].reshape(wide) + jitter) / size[group].reshape(wide)

    def ask(self, x: Tensor, item: Tensor, level: TokenLevel | None) -> Tensor:
        """Beliefs about states of the named items."""
        process, real = self.problem.denoiser.process, self.real[item]
        log_q = certain(torch.where(real, x, 0), process.tokens)
        # a state of an absorbing process that is all shown is its own clean state
        asked = (real & (x == process.mask)).flatten(1).any(dim=1)
        index = (asked if absorbing(process) else torch.ones_like(asked)).nonzero().flatten()
        if not len(index):
            return log_q
        t = shown(process, x[index], real[index]) if level is None else level
        told = self.problem.told(item[index].tolist())
        log_p = self.problem.denoiser(x[index], t, told).log_probs.double()
        # of a state that the prior excludes, an exact denoiser knows nothing: no weight
        log_p = visible(torch.where(log_p.isnan(), -torch.inf, log_p), x[index], process)
        log_q[index] = torch.where(real[index].unsqueeze(-1), log_p, log_q[index])
        return log_q


def certain(x: Int[Tensor, "rows *x"], tokens: int) -> Float[Tensor, "rows *x tokens"]:
    """Beliefs that are sure of the clean tokens in ``x``; of the last token at MASK."""
    log_q = torch.full((*x.shape, tokens), -torch.inf, dtype=torch.float64, device=x.device)
    return log_q.scatter_(-1, x.clamp(max=tokens - 1).unsqueeze(-1), 0.0)


def distinct(x: Tensor, item: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """States without repetition, their items, and which of them each row is."""
    table = torch.cat([item.unsqueeze(1), x.flatten(1)], dim=1)
    found, back = torch.unique(table, dim=0, return_inverse=True)
    return found[:, 1:].reshape(-1, *x.shape[1:]), found[:, 0], back


def ranks(hidden: Bool[Tensor, "items *x"], streams: Streams) -> Int[Tensor, "items *x"]:
    """A random order of each item's hidden places, from 0; −1 at the others."""
    chance = draws.uniform(hidden, streams).flatten(1)
    chance = torch.where(hidden.flatten(1), chance, 2.0)
    rank = chance.argsort(dim=1, stable=True).argsort(dim=1)
    return torch.where(hidden.flatten(1), rank, -1).reshape(hidden.shape)


def together(parts: Sequence[TokenDraws], groups: Sequence[Sequence[int]]) -> TokenDraws:
    """The draws of groups of items, in the order of the items."""
    back = torch.tensor([item for group in groups for item in group]).argsort()
    back = back.to(parts[0].x.device)
    found = [part.marginals for part in parts if part.marginals is not None]
    return TokenDraws(
        torch.cat([part.x for part in parts])[back],
        torch.cat([part.log_evidence for part in parts])[back],
        torch.cat([part.effective for part in parts])[back],
        torch.cat(found)[back] if found else None,
    )


def alike(numbers: Int[Tensor, " items"]) -> list[list[int]]:
    """Items with the same number together, in the order of the numbers."""
    return [
        (numbers == number).nonzero().flatten().tolist()
        for number in torch.unique(numbers).tolist()
    ]
