"""Expected counts of edits: what an alignment leaves open, weighed by a channel.

The fewest edits are not the likeliest: ``rn`` read as ``m`` is a loss and a substitution, in one
order or the other. Around every unequal block of an alignment all ways from the clean text to the
noisy one are summed (forward and backward over a pair hidden Markov model, as
``sfumato.factors.Edits`` does): with F(i, j) for i characters of the one and j of the other,

    F(i, j) = ι r(y_j) F(i, j−1) + (1 − ι) (δ_x F(i−1, j) + (1 − δ_x) C(x_i, y_j) F(i−1, j−1)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato_text.alignments import Block, align
from sfumato_text.channels import Channel

__all__ = ["Expectation", "regions"]

CONTEXT = 3
"""Equal characters on either side of an unequal block that may be aligned otherwise."""

Matrix = NDArray[np.float64]


def regions(clean: str, noisy: str) -> Iterator[Block]:
    """Blocks that cover both texts: unequal ones with their context, and what is equal between."""
    wide: list[list[int]] = []
    for block in align(clean, noisy):
        if block.same:
            continue
        before = min(CONTEXT, block.start, block.first)
        after = min(CONTEXT, len(clean) - block.end, len(noisy) - block.last)
        ends = [block.start - before, block.end + after, block.first - before, block.last + after]
        if wide and (ends[0] < wide[-1][1] or ends[2] < wide[-1][3]):
            wide[-1][1::2] = ends[1::2]
        else:
            wide.append(ends)
    start = first = 0
    for low, high, left, right in wide:
        if low > start:
            yield Block(True, start, low, first, left)
        yield Block(False, low, high, left, right)
        start, first = high, right
    if start < len(clean):
        yield Block(True, start, len(clean), first, len(noisy))


@dataclass(frozen=True)
class Edits:
    """Expected numbers of what happened in a region.

    Args:
        read: How often character i of the clean text was read as character j, ``[n, m]``.
        lost: How often i was lost, ``[n]``.
        inserted: How often j was inserted, ``[m]``.
    """

    read: Matrix
    lost: Matrix
    inserted: Matrix


class Expectation:
    """A channel, ready to weigh alignments of some texts.

    Args:
        channel: The channel.
        symbols: All characters of both texts.
    """

    def __init__(self, channel: Channel, symbols: Sequence[str]) -> None:
        self.place = {sign: number for number, sign in enumerate(symbols)}
        made = channel.edit_channel(symbols)
        self.lost = made.losses.numpy()
        self.read = (1 - self.lost)[:, None] * made.confusion.numpy()
        self.inserted = made.inserted * made.frequencies.numpy()
        self.go_on = 1 - made.inserted

    def edits(self, clean: str, noisy: str) -> Edits | None:
        """What happened in a region; ``None`` if the channel cannot make it happen."""
        x = np.array([self.place[sign] for sign in clean], dtype=np.int64)
        y = np.array([self.place[sign] for sign in noisy], dtype=np.int64)
        read = self.go_on * self.read[x][:, y] if len(y) else np.zeros((len(x), 0))
        lost, put = self.go_on * self.lost[x], self.inserted[y]
        ahead = forward(read, lost, put)
        total = ahead[-1, -1]
        if not total > 0:
            return None
        # backward is forward over both texts reversed: the model has no direction but its order
        behind = forward(read[::-1, ::-1], lost[::-1], put[::-1])[::-1, ::-1]
        return Edits(
            ahead[:-1, :-1] * read * behind[1:, 1:] / total,
            (ahead[:-1] * behind[1:]).sum(axis=1) * lost / total,
            (ahead[:, :-1] * behind[:, 1:]).sum(axis=0) * put / total,
        )


def forward(read: Matrix, lost: Matrix, put: Matrix) -> Matrix:
    """F, ``[n + 1, m + 1]``."""
    n, m = read.shape
    found = np.zeros((n + 1, m + 1))
    table, losses, puts = read.tolist(), lost.tolist(), put.tolist()
    row = [1.0]
    for j in range(m):
        row.append(row[-1] * puts[j])
    found[0] = row
    for i in range(n):
        new = [row[0] * losses[i]]
        for j in range(m):
            new.append(new[-1] * puts[j] + row[j + 1] * losses[i] + row[j] * table[i][j])
        found[i + 1] = row = new
    return found
