"""Null-space guidance for linear problems without noise (DDNM; Wang, Yu & Zhang, 2023).

A linear operator A splits a signal into the part that it sees and the part that it does not,

    x = A⁺A x + (I − A⁺A) x.

The measurement y = A x fixes the first part. The prior is asked only for the second:

    E[x₀ | x_t, y]  ≈  A⁺y + (I − A⁺A) E[x₀ | x_t].

For noisy measurements and time travel see ``sfumato.inverse.solvers.ddnm``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.inverse.problems import Guide, Problem
from sfumato.processes import Level

__all__ = ["DDNM"]


@dataclass(frozen=True)
class DDNM(Guide):
    """Replaces what the operator sees in a denoised signal by what was measured.

    Noise in y is taken for signal; its variance is not used.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"linear"})

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        estimate = problem.denoiser(x_t, t, problem.condition)
        residual = problem.residual(problem.linear(estimate.mean))
        return estimate.with_mean(estimate.mean + problem.linear.pinv(residual))
