"""Stretches of a row in which open places lie near each other.

Known places keep open ones apart: under an n-gram of order k, places with k − 1 known ones between
them are independent given these. So each stretch is a problem of its own, with what is known around
it, and where other open places are in sight, with the best guess about them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy import ndarray
from torch import Tensor

from sfumato.inverse.tokens.problems import TokenProblem

__all__ = ["Stretch", "stretches"]

APART, MARGIN = 24, 128
"""Known places that part stretches, and places that are looked at on either side of one."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """Open places near each other, and what is looked at around them.

    Args:
        open: Those places, of the whole row.
        low: Where the part that is looked at begins.
        high: Where it ends.
    """

    open: Bool[Tensor, " length"]
    low: int
    high: int

    @property
    def whole(self) -> bool:
        """Whether it is all of the row."""
        return self.low == 0 and self.high == len(self.open)

    def cut(self, problem: TokenProblem, best: Int[Tensor, " length"]) -> TokenProblem:
        """The problem of this stretch alone.

        Args:
            problem: One item.
            best: What other open places are taken for.
        """
        sites, part = problem.sites, slice(self.low, self.high)
        others = ~problem.known[0] & ~self.open
        certain = torch.full_like(sites, -torch.inf).scatter(-1, best[None, :, None], 0.0)
        condition = {
            key: value[:, part]
            if torch.is_tensor(value) and value.shape[1:2] == best.shape
            else value
            for key, value in (problem.condition or {}).items()
            if key != "valid"  # all of this part are
        }
        made = torch.where(others[:, None], certain, sites)[:, part]
        return replace(problem, sites=made, condition=condition or None)

    def paste(self, target: Tensor, items: list[int], found: Tensor) -> None:
        """Writes what was found in the part that is looked at into the open places of items."""
        places = self.open.nonzero()[:, 0]
        rows = torch.tensor(items, device=target.device)[:, None]
        target[rows, places] = found[:, places - self.low].to(target)


def stretches(problem: TokenProblem, real: Bool[ndarray, " places"], most: int) -> list[Stretch]:
    """Those stretches of a row that have at most so many open places.

    None of states that are no row, or have holes. With a machine, which sees the row as a whole,
    all open places are one stretch.

    Args:
        problem: One item.
        real: Which places exist.
        most: Open places.
    """
    exists = np.flatnonzero(real)
    if problem.sites.ndim != 3 or not len(exists) or not real[exists[0] : exists[-1] + 1].all():
        return []
    free = ~problem.known[0] & torch.from_numpy(real).to(problem.sites.device)
    begin, end = int(exists[0]), int(exists[-1]) + 1
    apart, margin = (end, end) if problem.machine is not None else (APART, MARGIN)
    groups: list[list[int]] = []
    for place in free.nonzero()[:, 0].tolist():
        if groups and place - groups[-1][-1] <= apart:
            groups[-1].append(place)
        else:
            groups.append([place])
    found = []
    for group in groups:
        if len(group) <= most:
            own = torch.zeros_like(free)
            own[group] = True
            low, high = max(begin, group[0] - margin), min(end, group[-1] + 1 + margin)
            found.append(Stretch(own, low, high))
    return found
