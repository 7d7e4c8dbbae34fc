"""Problems over tokens whose posterior is known by enumeration.

Each is a prior with an exact denoiser under any categorical process, evidence about one state, and
the exact posterior p(x | y) ∝ p(x) p(y | x), summed over all Kⁿ states. A solver that is given the
exact denoiser has no network to blame. ``problem`` makes as many copies as runs are wanted;
``score`` compares what a solver returns.

    Row      a bigram chain: gaps, letters replaced, letters confused with zeros, letters lost and
             inserted, a pattern
    Patch    a small grid whose neighbours want to be alike: a table without any order of places
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.denoisers import JointTable, MarkovChain
from sfumato.errors import InvalidOptionError
from sfumato.evaluation.known_tokens import KnownTokens, TokenTruth
from sfumato.factors import Deterministic, EditChannel, Edits, Machine
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Categorical

__all__ = ["KnownTokens", "Patch", "Row", "TokenTruth"]


@dataclass(frozen=True)
class Row(KnownTokens):
    """A bigram chain of letters, and what was seen of one of its rows.

    Args:
        kind: ``"gaps"`` (some letters known, the others not), ``"replaced"`` (35 % of the letters
            are drawn anew), ``"confused"`` (letters read as their neighbours only: a channel with
            zeros), ``"edited"`` (letters lost, inserted and misread) or ``"pattern"`` (nothing
            seen, but the second letter must come twice or more, and next to the first never).
        length: L.
        tokens: K, 3 or more.
        seed: Of the chain and of what is seen.
    """

    kind: str = "replaced"
    length: int = 7
    tokens: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in SITES and self.kind not in MACHINES:
            raise InvalidOptionError(
                "Row", f"kind={self.kind!r}", f"use one of {', '.join([*SITES, *MACHINES])}"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    def prior(self, process: Categorical) -> MarkovChain:
        return MarkovChain(process, *self.chances)

    @functools.cached_property
    def chances(self) -> tuple[Tensor, Tensor]:
        """p₁ and A."""
        made = torch.Generator().manual_seed(self.seed)
        table = torch.rand(self.tokens + 1, self.tokens, generator=made, dtype=torch.float64) ** 3
        table = table / table.sum(dim=1, keepdim=True)
        return table[0], table[1:]

    def log_prior(self, x: Tensor) -> Tensor:
        first, step = self.chances
        return first.log()[x[:, 0]] + step.log()[x[:, :-1], x[:, 1:]].sum(dim=1)

    @functools.cached_property
    def truth(self) -> Int[Tensor, " length"]:
        """The row that was seen."""
        streams = Streams.count(self.seed, 1).spawn("truth")
        return self.prior(Absorbing(self.tokens)).draw((1, self.length), streams)[0]

    @property
    def channel(self) -> Float[Tensor, "tokens symbols"]:
        """How letters are misread: as any, or as neighbours only."""
        K = self.tokens
        eye, wrong = torch.eye(K, dtype=torch.float64), 0.35
        if self.kind == "replaced":
            return (1 - wrong) * eye + wrong / K
        near = eye.roll(1, 0) + eye.roll(-1, 0)
        near[0, -1] = near[-1, 0] = 0.0
        return (1 - wrong) * eye + wrong * near / near.sum(dim=1, keepdim=True)

    @functools.cached_property
    def sites(self) -> Tensor:
        made = torch.Generator().manual_seed(self.seed)
        blank = torch.zeros(self.length, self.tokens, dtype=torch.float64)
        return SITES[self.kind](self, made) if self.kind in SITES else blank

    @functools.cached_property
    def machine(self) -> Machine | None:
        return MACHINES[self.kind](self) if self.kind in MACHINES else None


def gaps(row: Row, made: torch.Generator) -> Tensor:
    """Two of five letters known, in the mean."""
    known = torch.rand(row.length, generator=made) < 0.4
    sure = torch.nn.functional.one_hot(row.truth, row.tokens).double().log()
    return torch.where(known.unsqueeze(1), sure, 0.0)


def misread(row: Row, made: torch.Generator) -> Tensor:
    """What a channel says of each letter."""
    seen = torch.multinomial(row.channel[row.truth], 1, generator=made).squeeze(1)
    return row.channel.T[seen].log()


def edits(row: Row) -> Machine:
    """A channel that loses, inserts and misreads letters."""
    channel = EditChannel(row.channel, lost=0.1, inserted=0.1)
    seen = channel.corrupt(row.truth[None], Streams.count(row.seed, 1).spawn("edits"))[0]
    return Edits(channel, torch.tensor(seen, dtype=torch.long))


def twice(row: Row) -> Machine:
    """Letter 1 at least twice, and never just after letter 0."""
    after, once, done = (list(range(k, k + 2)) for k in (0, 2, 4))
    table = torch.empty(6, row.tokens, dtype=torch.long)
    for (plain, zero), (more, _) in (((after), (once)), ((once), (done)), ((done), (done))):
        table[plain] = table[zero] = plain
        table[plain, 0] = table[zero, 0] = zero
        table[plain, 1], table[zero, 1] = more, -1
    return Deterministic(table, torch.arange(6) >= 4, name="letter 1 twice, not after 0")


SITES: dict[str, Callable[[Row, torch.Generator], Tensor]] = {
    "gaps": gaps,
    "replaced": misread,
    "confused": misread,
}
MACHINES: dict[str, Callable[[Row], Machine]] = {"edited": edits, "pattern": twice}


@dataclass(frozen=True)
class Patch(KnownTokens):
    """A grid of letters, alike where they are neighbours, of which some were misread.

    Args:
        rows: Height.
        columns: Width.
        tokens: K.
        coupling: ln of how much more probable equal neighbours are.
        wrong: Share of letters that are replaced by any.
        seed: Of what is seen.
    """

    rows: int = 2
    columns: int = 3
    tokens: int = 3
    coupling: float = 1.0
    wrong: float = 0.5
    seed: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows, self.columns

    def log_prior(self, x: Tensor) -> Tensor:
        return self.energy(x) - self.energy(self.states).logsumexp(dim=0)

    def energy(self, x: Tensor) -> Tensor:
        """ln p(x) up to a constant; the last letter is rarer."""
        down = (x[:, 1:] == x[:, :-1]).flatten(1).sum(dim=1)
        along = (x[:, :, 1:] == x[:, :, :-1]).flatten(1).sum(dim=1)
        rare = (x == self.tokens - 1).flatten(1).sum(dim=1)
        return self.coupling * (down + along).double() - 0.5 * rare

    def prior(self, process: Categorical) -> JointTable:
        n = math.prod(self.shape)
        table = self.energy(self.states).reshape((self.tokens,) * n)
        return JointTable(process, table, self.shape)

    @functools.cached_property
    def sites(self) -> Tensor:
        K, made = self.tokens, torch.Generator().manual_seed(self.seed)
        seen = torch.randint(0, K, self.shape, generator=made)
        return ((1 - self.wrong) * torch.eye(K, dtype=torch.float64) + self.wrong / K).log()[seen]
