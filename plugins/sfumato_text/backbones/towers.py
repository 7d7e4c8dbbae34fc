"""Two towers that read towards a place from both sides and never see the place itself.

A masked network learns from the 15 % of a text that it hides; the rest of its work is lost. Here
the left tower at place i has read x₁ … x_{i−1}, the right one x_{i+1} … x_L, and a fusion layer at
i attends to the left tower's states up to i and to the right one's from i on. So the logits at i do
not depend on x_i, hidden or shown, and *every* place is an example: one pass over a text learns
from all its characters, and answers with the leave-one-out belief at all of them.

The towers may read different things. If the left one is shown the letters of a gap that the right
one does not see, the logits in the gap are those of the chain rule from left to right,

    ln p(x_gap | rest) = Σ_{i in gap} ln p(x_i | x_{<i}, what follows the gap),

all factors in one pass; and the other way round from right to left.

Beside its symbol each place of a tower is told the pair and the triple that it completes, from
tables: what a small network would otherwise need its first layers for.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from sfumato.errors import InvalidOptionError
from sfumato_text.backbones.attention import GatedMLP, attend, rotate, rotations

__all__ = ["Towers"]

BASE = 1000.0
"""Of the rotary angles; the longest distance is short."""

MULTIPLIER, MODULUS = 2_654_435_761, 2**32
"""Of the multiplicative hash that sends triples to rows of their table (Knuth)."""


class Layer(nn.Module):
    """One layer of a tower: attention to what was read, then a gated layer."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.drop = heads, nn.Dropout(dropout)
        self.norm1 = nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm2 = nn.RMSNorm(width)
        self.mlp = GatedMLP(width, hidden)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], allowed: Tensor) -> Tensor:
        return self.after(x, attend(*self.project(x, turn), allowed))

    def project(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, ``[batch, heads, length, width of a head]``."""
        batch, length, _ = x.shape
        split = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1)
        q, k, v = split.permute(2, 0, 3, 1, 4)
        return rotate(q, turn), rotate(k, turn), v

    def after(self, x: Tensor, seen: Tensor) -> Tensor:
        """States after the layer, from those before it and what attention saw."""
        x = x + self.drop(self.out(seen.transpose(1, 2).flatten(2)))
        found: Tensor = x + self.drop(self.mlp(self.norm2(x)))
        return found


class Fusion(nn.Module):
    """Attention of a place to the states of both towers, then a gated layer."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.drop = heads, nn.Dropout(dropout)
        self.norm1 = nn.RMSNorm(width)
        self.q = nn.Linear(width, width, bias=False)
        self.left = nn.Linear(width, 2 * width, bias=False)
        self.right = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm2 = nn.RMSNorm(width)
        self.mlp = GatedMLP(width, hidden)

    def forward(
        self, x: Tensor, towers: tuple[Tensor, Tensor], turn: tuple[Tensor, Tensor], allowed: Tensor
    ) -> Tensor:
        keys, values = zip(*(self.told(s, i, turn) for i, s in enumerate(towers)), strict=True)
        seen = (torch.cat(keys, dim=2), torch.cat(values, dim=2))
        return self.after(x, attend(self.asked(x, turn), *seen, allowed))

    def asked(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Queries, ``[batch, heads, length, width of a head]``."""
        batch, length, _ = x.shape
        q = self.q(self.norm1(x)).view(batch, length, self.heads, -1).transpose(1, 2)
        return rotate(q, turn)

    def told(self, states: Tensor, side: int, turn: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values of a tower's states; ``side`` 0 is the left tower."""
        batch, length, _ = states.shape
        both = (self.right if side else self.left)(states).view(batch, length, 2, self.heads, -1)
        k, v = both.permute(2, 0, 3, 1, 4)
        return rotate(k, turn), v

    def after(self, x: Tensor, seen: Tensor) -> Tensor:
        """States after the layer, from those before it and what attention saw."""
        x = x + self.drop(self.out(seen.transpose(1, 2).flatten(2)))
        found: Tensor = x + self.drop(self.mlp(self.norm2(x)))
        return found


class Towers(nn.Module):
    """Logits of the token at every place, from everything but that place.

    Args:
        tokens: K; the number K itself means MASK.
        width: Of the states.
        heads: Of attention; divides ``width`` into even parts.
        layers: Of each tower.
        fusions: Layers that join the towers.
        hidden: Width inside a gated layer.
        triples: Rows of the table of triples.
        table_width: Width of a row of the tables of pairs and triples.
        reach: How many places a layer sees on either side; the length of the texts it is trained
            on. Texts may have any length.
        dropout: Share of what a layer adds that is left out in training (Srivastava et al., 2014).
        ordered: Whether it was trained with towers that are shown different things. Only then is
            one pass the chain rule, and only then are there ``fillings``.

    Raises:
        InvalidOptionError: If ``heads`` does not divide ``width`` into even parts.
    """

    blind = True
    """No place sees its own state; see ``sfumato.denoisers.TokenNetwork``."""

    def __init__(
        self,
        *,
        tokens: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 3,
        fusions: int = 1,
        hidden: int = 352,
        triples: int = 8192,
        table_width: int = 32,
        reach: int = 192,
        dropout: float = 0.0,
        ordered: bool = False,
    ) -> None:
        super().__init__()
        if width % (2 * heads):
            raise InvalidOptionError(
                "towers", f"width={width}, heads={heads}", "use a width that 2·heads divides"
            )
        self.tokens, self.rows, self.reach, self.base = tokens, triples, reach, BASE
        self.ordered = ordered
        self.states = tokens + 2  # tokens, MASK, and the edge of the text
        self.turned, self.drop = width // heads, nn.Dropout(dropout)
        self.symbols = nn.Embedding(self.states, width)
        self.pairs = nn.Embedding(self.states**2, table_width)
        self.triples = nn.Embedding(triples, table_width)
        self.told = nn.ModuleList(nn.Linear(2 * table_width, width, bias=False) for _ in range(2))
        sizes = (width, heads, hidden, dropout)
        self.left = nn.ModuleList(Layer(*sizes) for _ in range(layers))
        self.right = nn.ModuleList(Layer(*sizes) for _ in range(layers))
        self.norms = nn.ModuleList(nn.RMSNorm(width) for _ in range(2))
        self.join = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(2))
        self.fusions = nn.ModuleList(Fusion(*sizes) for _ in range(fusions))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, tokens)
        self.start(layers)

    @property
    def sides(self) -> list[list[Layer]]:
        """The layers of both towers."""
        return [[cast("Layer", layer) for layer in side] for side in (self.left, self.right)]

    @property
    def joins(self) -> list[Fusion]:
        """The layers that join the towers."""
        return [cast("Fusion", fusion) for fusion in self.fusions]

    @property
    def fillings(self) -> Callable[..., Any] | None:
        """Makes what judges and writes fillings; ``None`` if it has not learnt to."""
        from sfumato_text.backbones.fillings import Fillings

        return partial(Fillings, self) if self.ordered else None

    def start(self, layers: int) -> None:
        """Initial weights: every layer begins near the identity, the output near even."""
        for name, p in self.named_parameters():
            if p.ndim < 2:
                continue
            spread = p.shape[1] ** -0.5
            if name.startswith(("symbols", "pairs", "triples")):
                spread = 0.5 if name.startswith("symbols") else 0.1
            elif name.endswith(("out.weight", "down.weight")):
                spread *= 0.3 / (2 * layers) ** 0.5
            elif name.startswith("head"):
                spread = 0.01
            nn.init.normal_(p, std=spread)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        ids: Int[Tensor, "batch length"],
        valid: Bool[Tensor, "#batch length"],
        behind: Int[Tensor, "batch length"] | None = None,
    ) -> Float[Tensor, "batch length tokens"]:
        """Logits.

        Args:
            ids: Tokens, K where hidden.
            valid: Which places exist; the others are the edge of the text.
            behind: What the right tower reads; ``ids`` if not given.
        """
        length = ids.shape[1]
        behind = ids if behind is None else behind
        left, right = (
            self.drop(self.read(own.masked_fill(~valid, self.tokens + 1), side))
            for side, own in enumerate((ids, behind))
        )
        turn = rotations(length, self.turned, left, base=BASE)
        before, after = self.allowed(valid)
        for layer in self.left:
            left = layer(left, turn, before)
        mirrored = (turn[0], -turn[1])  # both towers count positions in their own direction
        for layer in self.right:
            right = layer(right, mirrored, after)
        towers = (self.norms[0](left), self.norms[1](right))
        x = self.join[0](towers[0]) + self.join[1](towers[1])
        both = torch.cat([before, after], dim=-1)
        for fusion in self.fusions:
            x = fusion(x, towers, turn, both)
        logits: Tensor = self.head(self.norm(x))
        return logits

    def read(self, ids: Tensor, side: int) -> Tensor:
        """What a tower reads at each place: the neighbour, and the pair and triple it ends.

        Args:
            ids: The text.
            side: Of the neighbour: 0 left, 1 right.
        """
        length, edge = ids.shape[1], self.tokens + 1
        p = functional.pad(ids, (3, 3), value=edge)
        # p[3 + i] is place i; pairs and triples are numbered by where they begin
        near, two, three = (4, 4, 4) if side else (2, 1, 0)
        pairs = p[:, :-1] * self.states + p[:, 1:]
        codes = pairs[:, :-1] * self.states + p[:, 2:]
        rows = codes[:, three : three + length] * MULTIPLIER % MODULUS % self.rows
        told = torch.cat([self.pairs(pairs[:, two : two + length]), self.triples(rows)], dim=-1)
        found: Tensor = self.symbols(p[:, near : near + length]) + self.told[side](told)
        return found

    def allowed(self, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Which states of the left and of the right tower a place may attend to."""
        place = torch.arange(valid.shape[1], device=valid.device)
        back = place[:, None] - place
        # a state exists if its place does, or the neighbour that it has read
        padded = functional.pad(valid, (1, 1))
        found = []
        for near, exists in (
            ((back >= 0) & (back < self.reach), valid | padded[:, :-2]),
            ((back <= 0) & (-back < self.reach), valid | padded[:, 2:]),
        ):
            found.append((near & (exists[:, None, :] | (back == 0)))[:, None])
        return found[0], found[1]
