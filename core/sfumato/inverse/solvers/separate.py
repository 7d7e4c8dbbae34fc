"""Whether every measured number sees one element of x, and sums over each element's own numbers.

Then the conditional of x given y falls apart into one factor for each element, and what is true of
one element cannot slow another down. Let J be a linear A or the derivative of one. For any v with
elements other than 0, Cauchy and Schwarz's inequality

    (J v)ⱼ (J v⁻¹)ⱼ  ≥  (J 1)ⱼ²      (J ≥ 0)

holds with equality for all j only if no row of J has two entries; with entries of both signs the
two sides differ but for v of measure zero. Where they agree, row j of J has the entry (J 1)ⱼ, so

    Jᵀ(l / J 1)

adds up numbers l of the shape of y over the rows that see each element.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sfumato.inverse.operators import Linear, Operator
from sfumato.inverse.standard import Clip, Identity, Pointwise, Selection
from sfumato.noise import Streams

__all__ = ["gathering"]

AGREEMENT = 1e-5  # relative; rounding is far below it, a second entry of 1e-3 of the first above it


def gathering(operator: Operator, x: Tensor) -> Callable[[Tensor], Tensor] | None:
    """The sum of numbers of the shape of y over each element of x, or None if A mixes elements.

    Nonlinear operators count as mixing, but for those that are known to act on each element alone.

    Args:
        operator: A, with one batch of measurements.
        x: A state, ``[batch, *x]``, for its shape, dtype and device.
    """
    if x.is_complex():
        return None
    if isinstance(operator, (Identity, Pointwise, Clip)):
        return lambda values: values
    if not isinstance(operator, Linear):
        return None
    if isinstance(operator, Selection):
        return operator.adjoint
    one = torch.ones_like(x[:1])
    v = torch.exp(Streams(0, [0]).uniform(one) - 0.5)
    entry = operator.restrict(operator(one))
    if entry.is_complex():
        return None
    product = operator.restrict(operator(v)) * operator.restrict(operator(1 / v))
    size = torch.maximum(product.abs(), entry**2)
    if bool(((product - entry**2).abs() > AGREEMENT * size).any()):
        return None
    inverse = torch.where(entry != 0, 1 / entry.where(entry != 0, 1.0), 0.0)
    return lambda values: operator.adjoint(values * inverse)
