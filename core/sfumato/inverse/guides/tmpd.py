"""TMPD (Boys et al., 2024): moment matching with the diagonal of A V A*.

MMPS solves a linear system in every step. Here A V A* is replaced by a diagonal, its row sums
A V A* 1, so the inverse is a division:

    μ = x̂ + V A* (y − A x̂)/(A V A* 1 + Σ),

two backward passes. Exact where A V A* is diagonal and V A* keeps no correlation between rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.denoisers import Estimate, tweedie
from sfumato.inverse.problems import Guide, Problem
from sfumato.processes import Level

__all__ = ["TMPD"]


@dataclass(frozen=True)
class TMPD(Guide):
    """Tweedie moment projected diffusion."""

    needs: ClassVar[frozenset[str]] = frozenset({"gaussian"})

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        estimate, covariance = tweedie(problem.denoiser, x_t, t, problem.condition)
        operator, x_hat = problem.operator, estimate.mean
        z, adjoint = operator.linearise(x_hat)
        rows = operator.jvp(x_hat, covariance(adjoint(torch.ones_like(z))))
        rows = rows.real if rows.is_complex() else rows
        # row sums of a covariance may be negative; its diagonal is not
        total = rows.clamp(min=0) + problem.noise
        safe = torch.where(total > 0, total, 1.0)
        scaled = torch.where(total > 0, problem.residual(z) / safe, torch.zeros_like(z))
        return estimate.with_mean(x_hat + covariance(adjoint(scaled)))
