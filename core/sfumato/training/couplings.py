"""Which noise, or which point of another data set, a point of the data is paired with.

A straight path x_t = (1 − t) x₀ + t x₁ needs pairs (x₀, x₁), and any pairs whose two sides have the
right distributions give a flow between them (Lipman et al., 2023; Liu, Gong & Liu, 2023; Albergo &
Vanden-Eijnden, 2023). With x₁ noise this is flow matching; with x₁ data it is rectified flow
between two data sets, or α-blending (Heitz, Belcour & Chambon, 2023). The loss and the samplers are
those of the ``Flow`` process with x₁ in place of ε. Which pairs decides how straight the flow is:

    independent   two draws that know nothing of each other
    paired        pairs that the data are made of: ``Pairs(…, paired=True)``
    optimal       the pairs of a batch with the least Σ ‖x₀ − x₁‖² (Pooladian et al., 2023; Tong
                  et al., 2024), by shortest augmenting paths (Jonker & Volgenant, 1987), O(n³)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.training.feeds import Data

__all__ = ["PARTNER", "Pairs", "assignment", "optimal"]

PARTNER = "partner"
"""Key of x₁ in an item."""


@dataclass(frozen=True)
class Pairs:
    """Two data sets as one, whose items hold a point of each.

    Args:
        first: x₀, and whatever conditions its items have.
        second: x₁, with items of the same shape.
        paired: Whether item i of one belongs to item i of the other; else the second is drawn.

    Raises:
        InvalidOptionError: If paired data sets differ in length.
    """

    first: Data
    second: Data
    paired: bool = False

    def __post_init__(self) -> None:
        if self.paired and len(self.first) != len(self.second):
            raise InvalidOptionError(
                "pairs", f"{len(self.first)} and {len(self.second)} items",
                "give as many of each, or paired=False",
            )  # fmt: skip

    def __len__(self) -> int:
        return len(self.first)

    def item(self, index: int, generator: torch.Generator) -> Mapping[str, Any]:
        one = self.first.item(index, generator)
        if not self.paired:
            index = int(torch.randint(len(self.second), (), generator=generator))
        other = self.second.item(index, generator)
        named = dict(one) if isinstance(one, Mapping) else {"x": one}
        return {**named, PARTNER: other["x"] if isinstance(other, Mapping) else other}


def optimal(x_0: Float[Tensor, "batch *x"], x_1: Float[Tensor, "batch *x"]) -> Tensor:
    """``x_1`` in the order that pairs it with ``x_0`` at the least cost.

    Raises:
        ShapeError: If the two differ in shape.
    """
    if x_0.shape != x_1.shape:
        raise ShapeError("partners", x_1.shape, "×".join(map(str, x_0.shape)))
    cost = torch.cdist(x_0.flatten(1).double(), x_1.flatten(1).double()).square()
    return x_1[assignment(cost).to(x_1.device)]


def assignment(cost: Float[Tensor, "n n"]) -> Int[Tensor, " n"]:
    """The column of each row in the assignment of least total cost.

    Rows are assigned one by one along the shortest path of reduced costs c_ij − u_i − v_j, found as
    Dijkstra finds it; u and v stay feasible, so that no row that was assigned loses its column.
    """
    c = cost.detach().cpu().double().numpy()
    n = len(c)
    u, v = np.zeros(n), np.zeros(n + 1)
    owner = np.full(n + 1, -1)  # the row of each column; the last column is where a path begins
    for row in range(n):
        owner[n] = row
        column = n
        least, came = np.full(n, np.inf), np.full(n, n)
        open_ = np.ones(n, dtype=bool)
        while owner[column] >= 0:
            if column < n:
                open_[column] = False
            here = owner[column]
            reduced = c[here] - u[here] - v[:n]
            nearer = open_ & (reduced < least)
            least[nearer], came[nearer] = reduced[nearer], column
            following = int(np.where(open_, least, np.inf).argmin())
            delta = least[following]
            seen = np.append(~open_, True)
            u[owner[seen]] += delta
            v[seen] -= delta
            least[open_] -= delta
            column = following
        while column != n:
            owner[column] = owner[came[column]]
            column = int(came[column])
    columns = np.empty(n, dtype=np.int64)
    columns[owner[:n]] = np.arange(n)
    return torch.from_numpy(columns)
