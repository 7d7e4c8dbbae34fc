"""What fills the open places of one text, judged and written by the two towers.

The chain rule from left to right is one pass (``sfumato_text.backbones.towers``), most of which is
the same whatever fills the places: the right tower sees none of the fillings, and the left tower
has nothing new to read before the first. Both are computed once. A filling then costs the states of
one tower and of the fusion layers from the first open place to the last: for 10 places with 100
letters around them a thirtieth of the whole. From right to left the towers change places.

States can be added place by place too, and so fillings are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from sfumato_text.backbones.attention import attend, rotations
from sfumato_text.backbones.towers import Towers

__all__ = ["Fillings"]

Pair = tuple[Tensor, Tensor]
"""Keys and values, ``[batch, heads, places, width]``."""

BEFORE = 3
"""Letters beside a place that a tower is told together."""


@dataclass(eq=False)
class Reading:
    """What one tower has read of the fillings so far.

    Args:
        places: Where, in the order of the keys.
        layers: Keys and values of each layer of the tower.
        fusions: The same of each fusion layer.
    """

    places: list[int] = field(default_factory=list)
    layers: list[Pair] = field(default_factory=list)
    fusions: list[Pair] = field(default_factory=list)


class Fillings:
    """A text with open places, as the towers read it.

    Args:
        towers: The network, in evaluation mode.
        row: The text; what stands at the open places does not matter.
        places: Those that are open; at least one.
        note: Told how many fillings are judged or written, each time.
    """

    def __init__(
        self,
        towers: Towers,
        row: Int[Tensor, " length"],
        places: Bool[Tensor, " length"],
        note: Callable[[int], object] | None = None,
    ) -> None:
        self.towers, self.places, self.note = towers, places, note
        self.row = row.masked_fill(places, towers.tokens)[None]
        numbers = places.nonzero()[:, 0].tolist()
        self.first, self.end = numbers[0], numbers[-1] + 1
        like = towers.head.weight
        self.turn = rotations(len(row), towers.turned, like, base=towers.base)
        self.allowed = [
            mask[0, 0] for mask in towers.allowed(torch.ones_like(self.row, dtype=torch.bool))
        ]
        self.around: list[Reading] = []
        self.states: list[Tensor] = []
        for side in range(2):
            self.look(side)

    def look(self, side: int) -> None:
        """Notes what a tower makes of the text with its places hidden."""
        net, everywhere = self.towers, list(range(self.row.shape[1]))
        x, layers = net.read(self.row, side), []
        for layer in net.sides[side]:
            q, k, v = layer.project(x, self.turned(everywhere, side))
            layers.append((k, v))
            x = layer.after(x, attend(q, k, v, self.allowed[side]))
        states, turn = net.norms[side](x), self.turned(everywhere)
        fusions = [fusion.told(states, side, turn) for fusion in net.joins]
        self.around.append(Reading(everywhere, layers, fusions))
        self.states.append(states)

    def turned(self, places: list[int], side: int = 0) -> tuple[Tensor, Tensor]:
        """Rotary angles; the right tower counts positions in its own direction."""
        cosine, sine = (part[places] for part in self.turn)
        return cosine, -sine if side else sine

    def go(
        self, reading: Reading, side: int, at: list[int], text: Int[Tensor, "n span"]
    ) -> Float[Tensor, "n new tokens"]:
        """Reads on, and answers at the places read: ln p(token | what was read, the other side).

        Args:
            reading: What was read; it grows.
            side: The tower that reads: 0 is the left one.
            at: Places that come next.
            text: The fillings, as ``texts`` returns them.
        """
        net, other = self.towers, 1 - side
        before = slice(self.end, None) if side else slice(0, self.first)
        reading.places = reading.places + at
        mask = self.allowed[side][at]
        old, new, far = mask[:, before], mask[:, reading.places], self.allowed[other][at]
        x = net.read(text, side)[:, [place - self.first + BEFORE for place in at]]
        turn = self.turned(at, side)
        for number, layer in enumerate(net.sides[side]):
            q, k, v = layer.project(x, turn)
            own = grown(reading.layers, number, (k, v))
            shared = cut(self.around[side].layers[number], before)
            x = layer.after(x, attend_parts(q, shared, own, torch.cat([old, new], dim=1)))
        states, turn = net.norms[side](x), self.turned(at)
        x = net.join[side](states) + net.join[other](self.states[other][:, at])
        mask = torch.cat([old, far, new], dim=1)
        for number, fusion in enumerate(net.joins):
            own = grown(reading.fusions, number, fusion.told(states, side, turn))
            shared = joined(
                cut(self.around[side].fusions[number], before), self.around[other].fusions[number]
            )
            x = fusion.after(x, attend_parts(fusion.asked(x, turn), shared, own, mask))
        logs: Tensor = net.head(net.norm(x)).log_softmax(dim=-1)
        return logs

    def tell(self, fillings: int) -> None:
        if self.note is not None:
            self.note(fillings)

    def texts(self, x: Int[Tensor, "n length"]) -> Int[Tensor, "n span"]:
        """The letters from ``first`` − 3 to ``end`` + 3, beyond the text its edge."""
        edge = functional.pad(x, (BEFORE, BEFORE), value=self.towers.tokens + 1)
        return edge[:, self.first : self.end + 2 * BEFORE]

    @torch.no_grad()
    def log_prob(self, x: Int[Tensor, "n length"], side: int) -> Float[Tensor, " n"]:
        """ln p(fillings | rest), float64.

        Args:
            x: Texts that are the row but for its open places.
            side: From where they are read: 0 left, 1 right.
        """
        self.tell(len(x))
        at = list(range(self.first, self.end))
        logs = self.go(Reading(), side, at, self.texts(x))
        own = logs.gather(-1, x[:, at, None])[..., 0].double()
        return (own * self.places[at]).sum(dim=1)

    @torch.no_grad()
    def draw(self, u: Float[Tensor, "n places"], side: int) -> Int[Tensor, "n length"]:
        """Texts with fillings from the network, written from one side.

        Args:
            u: Numbers in [0, 1), for every open place.
            side: Where to begin: 0 left, 1 right.
        """
        self.tell(len(u))
        x = self.row.repeat(len(u), 1)
        reading = Reading()
        order = range(self.first, self.end)
        for place in reversed(order) if side else order:
            logs = self.go(reading, side, [place], self.texts(x))[:, 0]
            if self.places[place]:
                ends = logs.double().exp().cumsum(dim=1)
                number = int(self.places[:place].sum())
                mark = u[:, number, None].double() * ends[:, -1:]
                x[:, place] = (ends <= mark).sum(dim=1).clamp(max=logs.shape[1] - 1)
        return x


def joined(first: Pair, second: Pair) -> Pair:
    """Keys and values of both."""
    k, v = (torch.cat(parts, dim=2) for parts in zip(first, second, strict=True))
    return k, v


def cut(pair: Pair, places: slice) -> Pair:
    """Keys and values of some places."""
    return pair[0][:, :, places], pair[1][:, :, places]


def grown(pairs: list[Pair], number: int, new: Pair) -> Pair:
    """Adds keys and values to those of a layer, which may have none yet."""
    if number == len(pairs):
        pairs.append(new)
    else:
        pairs[number] = joined(pairs[number], new)
    return pairs[number]


def attend_parts(
    q: Float[Tensor, "n heads queries width"],
    shared: Pair,
    own: Pair,
    allowed: Bool[Tensor, "queries keys"],
) -> Float[Tensor, "n heads queries width"]:
    """Softmax attention to keys that are the same for all items, and to an item's own after them.

    The shared keys are not repeated: the queries of all items meet them in one product.
    """
    n, heads, queries, width = q.shape
    (k, v), (own_k, own_v), count = shared, own, shared[0].shape[2]
    q = q * width**-0.5
    flat = q.transpose(0, 1).reshape(heads, n * queries, width)
    far = (flat @ k[0].mT).view(heads, n, queries, count).transpose(0, 1)
    scores = torch.cat([far, q @ own_k.mT], dim=-1).masked_fill(~allowed, -torch.inf)
    weights = scores.softmax(dim=-1)
    flat = weights[..., :count].transpose(0, 1).reshape(heads, n * queries, count)
    far = (flat @ v[0]).view(heads, n, queries, width).transpose(0, 1)
    return far + weights[..., count:] @ own_v
