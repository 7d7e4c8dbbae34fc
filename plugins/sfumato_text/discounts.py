"""Discounts of an n-gram model, and how they are learnt.

One discount per order, kind of context and count of 1, 2, 3, 4 or more. The kind of a context is
how much was seen after it (eight ranges) and in how many ways it went on (five), and one kind of
its own for contexts that occur once. A discount is at most the smallest count it is taken from, so
that nothing falls below 0.

They are chosen by descent on the bits of a text that was not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato_text.contexts import Order

__all__ = ["KINDS", "Discounts", "Evidence", "fitted"]

TOTALS = np.array([1, 2, 4, 8, 16, 40, 150])  # upper ends of the ranges
WAYS = np.array([1, 2, 4, 9])
ONCE = (len(TOTALS) + 1) * (len(WAYS) + 1)
KINDS = ONCE + 1
CLASSES = 4


@dataclass(frozen=True, eq=False)
class Discounts:
    """D by order, kind and count.

    Args:
        values: ``[N + 1, KINDS, 4]``, float32.

    Raises:
        ShapeError: If the table has another shape.
    """

    values: Float[ndarray, "orders kinds classes"]

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.shape[1:] != (KINDS, CLASSES):
            raise ShapeError("discounts", self.values.shape, f"orders×{KINDS}×{CLASSES}")

    @classmethod
    def start(cls, order: int) -> Discounts:
        """What Kneser and Ney's formula gives for most texts: 0.75, 1.2, 1.5, 1.5."""
        row = np.array([0.75, 1.2, 1.5, 1.5], np.float32)
        return cls(np.tile(row, (order + 1, KINDS, 1)))

    @property
    def order(self) -> int:
        """N."""
        return len(self.values) - 1

    @property
    def single(self) -> Float[ndarray, " orders"]:
        """D of contexts that occur once, by order."""
        column: ndarray = self.values[:, ONCE, 0]
        wide: ndarray = column.astype(np.float64)
        return wide

    def of(self, order: Order, n: int) -> tuple[ndarray, ndarray]:
        """D of every arc, and g of every node."""
        kind = kinds(order)
        by_arc = self.values[n, kind[order.owner], classes(order.diversity)].astype(np.float64)
        return by_arc, np.add.reduceat(by_arc, order.start[:-1]) / order.total


def kinds(order: Order) -> Int[ndarray, " nodes"]:
    """The kind of each repeated context."""
    ways = np.searchsorted(WAYS, np.diff(order.start))
    return np.searchsorted(TOTALS, order.total) * (len(WAYS) + 1) + ways


def classes(counts: ndarray) -> ndarray:
    """0 to 3 for counts of 1, 2, 3, 4 or more."""
    found: ndarray = np.minimum(counts, CLASSES) - 1
    return found


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the counts say of letters of another text, for every order; all ``[N + 1, letters]``.

    Args:
        seen: Whether the context is known at all.
        kind: Its kind.
        count: d of the letter after it; 0 if it never was.
        total: d of the context.
        spread: Number of its arcs by class, ``[N + 1, 4, letters]``.
    """

    seen: ndarray
    kind: ndarray
    count: ndarray
    total: ndarray
    spread: ndarray


def fitted(
    evidence: Evidence, tokens: int, *, steps: int = 150, rate: float = 0.05
) -> tuple[Discounts, float]:
    """Discounts that give the text the fewest bits, and how many bits per letter that is."""
    order = len(evidence.seen) - 1
    seen, kind, count, total, spread = (
        torch.from_numpy(np.ascontiguousarray(part))
        for part in (evidence.seen, evidence.kind, evidence.count, evidence.total, evidence.spread)
    )
    raw = torch.zeros(order + 1, KINDS, CLASSES, requires_grad=True)
    most = torch.arange(1, CLASSES + 1)
    descent = torch.optim.Adam([raw], lr=rate)

    def bits() -> Tensor:
        p = torch.full(seen.shape[1:], 1 / tokens)
        for n in range(order + 1):
            D = (torch.sigmoid(raw[n]) * most)[kind[n]]
            own = D.gather(1, (count[n].clamp(1, CLASSES) - 1).unsqueeze(1)).squeeze(1)
            kept = torch.where(count[n] > 0, count[n] - own, 0.0)
            left = (D * spread[n].T).sum(dim=1)
            p = torch.where(seen[n], (kept + left * p) / total[n].clamp(min=1), p)
        return -p.log2().mean()

    found = float("nan")
    for _ in range(steps):
        descent.zero_grad()
        loss = bits()
        torch.autograd.backward(loss)
        descent.step()
        found = float(loss.detach())
    values = (torch.sigmoid(raw.detach()) * most).numpy().astype(np.float32)
    return Discounts(values), found
