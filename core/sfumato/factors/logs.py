"""Sums of weights that are given as logarithms.

A sum over a group is taken relative to the group's own largest term. So a weight is lost only
against a larger one that it is added to, never because some other group is larger.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["group", "mix", "run"]

UNDERFLOW = 600.0  # e⁻⁷⁰⁸ is the smallest number with full precision; some room for sums


def group(
    values: Float[Tensor, "batch n"], index: Int[Tensor, "*batch n"], size: int
) -> Float[Tensor, "batch size"]:
    """ln Σ_{k : index(k) = g} exp(values(k)) for every group g < ``size``; −∞ for empty ones."""
    where = index.expand_as(values)
    top = values.new_full((len(values), size), -torch.inf)
    top.scatter_reduce_(1, where, values, "amax")
    top.masked_fill_(top == -torch.inf, 0.0)
    total = torch.zeros_like(top).scatter_add_(1, where, (values - top.gather(1, where)).exp_())
    return total.log_().add_(top)


def mix(
    values: Float[Tensor, "batch n"], log_matrix: Float[Tensor, "n m"]
) -> Float[Tensor, "batch m"]:
    """ln Σ_k exp(values(k) + log_matrix(k, m)).

    A product of matrices where nothing can underflow, which is nearly always; else term by term.
    """
    top = values.amax(dim=1, keepdim=True)
    top = top.masked_fill(top == -torch.inf, 0.0)
    scaled = values - top
    lowest = least(scaled) + least(log_matrix - log_matrix.amax())
    if lowest > -UNDERFLOW:
        peak = log_matrix.amax()
        return (scaled.exp() @ (log_matrix - peak).exp()).log() + (top + peak)
    return torch.logsumexp(values.unsqueeze(-1) + log_matrix, dim=1)


def least(values: Tensor) -> float:
    """The smallest finite value; −∞ if all are −∞, 0 if there are none."""
    if not values.numel():
        return 0.0
    finite = values.masked_fill(values == -torch.inf, torch.inf).amin()
    return float(finite.nan_to_num(nan=-torch.inf, posinf=-torch.inf))


def run(
    values: Float[Tensor, "batch n"], log_ratio: Float[Tensor, " n"], *, down: bool = False
) -> Float[Tensor, "batch n"]:
    """The recurrence A_j = a_j + r_j A_{j−1}, as logarithms.

    A running sum of a_j / Π r, as logarithms, where no r_j is 0. Else by doubling: after k rounds
    A_j holds the terms that started at most 2ᵏ − 1 places before.

    Args:
        values: ln a.
        log_ratio: ln r; the first entry is not used (``down``: the last).
        down: Run from the end instead: A_j = a_j + r_j A_{j+1}.
    """
    if down:
        return run(values.flip(1), log_ratio.flip(0)).flip(1)
    if bool(log_ratio[1:].isfinite().all()):
        level = torch.cat([log_ratio.new_zeros(1), log_ratio[1:].cumsum(0)])[: values.shape[1]]
        return torch.logcumsumexp(values - level, dim=1) + level
    ratio, step, n = log_ratio.clone(), 1, values.shape[1]
    while step < n:
        reached = torch.logaddexp(values[:, step:], values[:, :-step] + ratio[step:])
        values = torch.cat([values[:, :step], reached], dim=1)
        ratio = torch.cat([ratio[:step], ratio[step:] + ratio[:-step]])
        step *= 2
    return values
