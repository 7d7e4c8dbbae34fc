"""Singular value decompositions as maps: A = U diag(s) V*, where one is known in closed form.

In the coefficients c = V* x a linear measurement is one number per coefficient, U* y = s c + noise,
and pseudo-inverse, regularised inverse and spectral solvers (DDRM, DDNM+) are arithmetic.

V may be *thin*: its columns are orthonormal, but what A cannot see may be left out. The unseen part
of x is then x − V V* x, which needs no basis of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Spectrum"]


@dataclass(frozen=True)
class Spectrum:
    """A = U diag(s) V*, as maps. Coefficients are real for real data.

    Args:
        singular: s ≥ 0, broadcastable to the coefficients without the batch axis.
        analyse: x ↦ V* x: coefficients of x.
        synthesise: c ↦ V c.
        project: y ↦ U* y: coefficients of a measurement, in the same places, 0 where s = 0.
        embed: c ↦ U c.
    """

    singular: Tensor
    analyse: Callable[[Tensor], Tensor]
    synthesise: Callable[[Tensor], Tensor]
    project: Callable[[Tensor], Tensor]
    embed: Callable[[Tensor], Tensor]

    @property
    def seen(self) -> Tensor:
        """Where s is not zero, relative to the largest and to the precision it is given in."""
        return visible(self.singular, self.singular)

    def matched(self, c: Tensor) -> tuple[Tensor, Tensor]:
        """s in the precision and on the device of coefficients ``c``, and where it is not zero.

        What lies below 100 ε of the largest is rounding of that precision, and counts as unseen.
        """
        real = c.real.dtype if c.is_complex() else c.dtype
        return self.singular.to(device=c.device, dtype=real), visible(self.singular, c)

    def pinv(self, y: Tensor) -> Tensor:
        """A⁺ y."""
        c = self.project(y)
        singular, seen = self.matched(c)
        return self.synthesise(torch.where(seen, 1 / singular.where(seen, 1.0), 0.0) * c)

    def reach(self, y: Tensor) -> Tensor:
        """The part of y that A can produce: U U* y, without the directions where s = 0."""
        c = self.project(y)
        return self.embed(self.matched(c)[1] * c)

    def solve(self, v: Tensor, variance: Tensor, noise: Tensor) -> Tensor:
        """(r² A A* + σ² I)⁻¹ v for numbers r², σ² (or one per item), on the part that A can reach.

        Outside the range of A the inverse is 1/σ²; those parts vanish under A* and are left out.
        """
        c = self.project(v)
        singular, seen = self.matched(c)
        power = one_per_item(variance, c) * singular**2 + one_per_item(noise, c)
        positive = seen & (power > 0)
        return self.embed(torch.where(positive, 1 / power.where(positive, 1.0), 0.0) * c)


def visible(singular: Tensor, c: Tensor) -> Tensor:
    epsilon = torch.finfo(c.dtype).eps
    return (singular > 100 * epsilon * singular.max()).to(c.device)


def one_per_item(value: Tensor, c: Tensor) -> Tensor:
    """A number, or one number per item, shaped and typed to multiply ``c``."""
    real = c.real.dtype if c.is_complex() else c.dtype
    value = value.to(device=c.device, dtype=real)
    return value.reshape(()) if value.numel() == 1 else value.reshape(-1, *(1,) * (c.ndim - 1))
