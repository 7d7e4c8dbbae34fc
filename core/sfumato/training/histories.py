"""Times drawn where the loss is large (Nichol & Dhariwal, 2021, § 3.3).

A mean over times has the least variance if t is drawn in proportion to √E[L_t²], and L_t is divided
by the density. E[L_t²] is not known beforehand and changes while a network learns; it is kept for
each of a number of bins as the mean over their last losses. Until every bin has seen enough, times
are drawn evenly; afterwards a small share still is, so that none is forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.processes import Gaussian
from sfumato.training.times import Times, Uniform

__all__ = ["History", "Piecewise"]

EVEN = 0.001
"""Share of the times that is drawn evenly, whatever the losses are."""


@dataclass(frozen=True)
class Piecewise(Times):
    """Another distribution's quantiles, in bins of equal probability that get new ones.

    Args:
        masses: Probability of each bin, above 0; scaled to sum 1.
        base: Whose quantiles the bins divide evenly.

    Raises:
        InvalidOptionError: If a mass is not above 0.
    """

    masses: tuple[float, ...]
    base: Times = field(default_factory=Uniform)

    def __post_init__(self) -> None:
        if not self.masses or not min(self.masses) > 0:
            raise InvalidOptionError("times", f"masses={self.masses}", "use numbers above 0")

    def place(self, u: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        """Where among the base's quantiles the share ``u`` of these lies, in (0, 1)."""
        masses = torch.tensor(self.masses, dtype=torch.float64)
        ends = masses.cumsum(0) / masses.sum()
        inside = u.double().cpu()
        bin_ = torch.searchsorted(ends, inside, right=True).clamp(max=len(masses) - 1)
        share = (inside - (ends - masses / masses.sum())[bin_]) / (masses / masses.sum())[bin_]
        return (bin_ + share.clamp(0, 1)) / len(masses)

    def quantile(self, process: Gaussian, u: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return self.base.quantile(process, self.place(u))

    def density(self, process: Gaussian, t: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        masses = torch.tensor(self.masses, dtype=torch.float64)
        edges = self.base.quantile(process, torch.linspace(0, 1, len(masses) + 1).double())
        inside = torch.searchsorted(edges[1:-1], t.double().cpu(), right=True)
        relative = (masses / masses.mean())[inside]
        return relative * self.base.density(process, t)


class History:
    """The last losses of every bin.

    Args:
        bins: Number of bins.
        length: Losses kept in each.
        base: The distribution that the bins divide evenly.
    """

    def __init__(self, bins: int = 32, length: int = 10, *, base: Times | None = None) -> None:
        self.length = length
        self.base = base or Uniform()
        self.kept: list[list[float]] = [[] for _ in range(bins)]

    def times(self) -> Piecewise:
        """The distribution to draw from now."""
        if any(len(row) < self.length for row in self.kept):
            return Piecewise((1.0,) * len(self.kept), self.base)
        square = torch.tensor(self.kept, dtype=torch.float64).square().mean(dim=1)
        root = square.sqrt().clamp(min=1e-30)
        even = EVEN / len(self.kept)
        return Piecewise(tuple(((1 - EVEN) * root / root.sum() + even).tolist()), self.base)

    def add(self, place: Float[Tensor, " batch"], losses: Float[Tensor, " batch"]) -> None:
        """Takes the losses of items by their place among the base's quantiles.

        Args:
            place: From ``Piecewise.place`` of the distribution that they were drawn from.
            losses: Before they are divided by the density.
        """
        bins = (place * len(self.kept)).floor().long().clamp(0, len(self.kept) - 1)
        for number, loss in zip(bins.tolist(), losses.double().tolist(), strict=True):
            self.kept[number] = [*self.kept[number][1 - self.length :], loss]

    def state(self) -> list[list[float]]:
        """What a checkpoint keeps."""
        return [list(row) for row in self.kept]

    def restore(self, state: Sequence[Sequence[float]]) -> None:
        """Puts back what ``state`` returned."""
        self.kept = [list(row) for row in state]
