"""How samples fit the measurement, in physical units, and what of them it does not determine."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.inverse.operators import Linear, Operator
from sfumato.inverse.problems import Problem
from sfumato.results import chi2_band
from sfumato.runs import Piece

__all__ = ["fitted", "null_share", "residuals"]


def residuals(
    pieces: list[Piece], decoded: list[Tensor], n: int
) -> tuple[Tensor, Tensor, tuple[float, float]]:
    """χ², root mean square residual, and the band of χ², over all pieces together."""
    squares, plain, count = torch.zeros(()), torch.zeros(()), 0
    exact = False
    for piece, x in zip(pieces, decoded, strict=True):
        z = piece.operator(x)
        y = piece.y.repeat_interleave(n, dim=0)
        likelihood = piece.operator.likelihood
        variance = likelihood.variance
        exact = exact or (variance is not None and bool((variance == 0).any()))
        shape = (piece.y.shape[0], n)
        squares = squares + total(likelihood.residual(y, z)).view(shape)
        plain = plain + total(y - z).view(shape)
        count += piece.operator.observed(piece.y)
    chi2 = torch.full_like(squares, math.nan) if exact else squares / max(count, 1)
    return chi2, (plain / max(count, 1)).sqrt(), chi2_band(count)


def fitted(operator: Operator, mean: Tensor) -> Tensor:
    """A(posterior mean) in physical units, on the CPU, shaped as the measurement is."""
    with torch.no_grad():
        z = operator(mean).clone()  # the identity returns what it was given
    return z[0] if len(z) == 1 else z


def total(values: Tensor) -> Tensor:
    return values.abs().square().flatten(1).sum(dim=1, dtype=torch.float64).cpu()


def null_share(problem: Problem, x: Tensor) -> float:
    """‖x − A⁺A x‖²/‖x‖² of the first sample, in model units."""
    operator = problem.operator
    if not isinstance(operator, Linear):
        return math.nan
    one = x[:1]
    hidden = one - operator.pinv(operator(one))
    return float(total(hidden) / total(one).clamp(min=1e-30))
