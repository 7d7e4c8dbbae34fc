"""RePaint (Lugmayr et al., 2022): what is known is pasted in at every level, then harmonised.

    x_s = m (α_s y + σ_s ε) + (1 − m) · step(x_t),

with m the measured elements. The pasted part knows nothing of the generated one, so each stretch of
the grid is walked several times, with jumps back to more noise in between. With noise of standard
deviation σ_y in y, ε has variance σ_s² − α_s²σ_y², down to the level where that is 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.inverse.capabilities import require
from sfumato.inverse.elements import elements
from sfumato.inverse.problems import Callback, Problem, Solver
from sfumato.inverse.solvers.loop import descend
from sfumato.inverse.solvers.travel import check_travel
from sfumato.noise import Streams
from sfumato.processes import Level, like
from sfumato.samplers.base import kernel

__all__ = ["RePaint"]


@dataclass(frozen=True)
class RePaint(Solver):
    """Inpainting by replacement and resampling. Measured elements come back exactly as in y.

    Args:
        steps: Steps of the grid; the paper uses 250.
        length: Levels of one jump back (its j = 10).
        repeats: How often each stretch is walked (its r = 10).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mask", "gaussian"})

    steps: int = 50
    length: int = 5
    repeats: int = 5

    def __post_init__(self) -> None:
        check_travel("RePaint", self.length, self.repeats)

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        require("RePaint", self.needs, problem.operator, problem.denoiser)
        blank = problem.blank()
        measured, known, noise = elements(problem)

        def step(x_t: Tensor, t: Level, s: Level) -> tuple[Tensor, Tensor]:
            x_hat = problem.denoiser(x_t, t, problem.condition).mean
            free = kernel(x_hat, x_t, t, s, streams)
            if s.clean:
                return torch.where(measured, known, free), x_hat
            fresh = like(s.sigma, blank) ** 2 - like(s.alpha, blank) ** 2 * noise
            z = fresh.clamp(min=0).sqrt() * streams.normal(blank)
            pasted = like(s.alpha, blank) * known + z
            return torch.where(measured, pasted, free), x_hat

        return descend(
            problem, streams, step,
            steps=self.steps, length=self.length, repeats=self.repeats, callback=callback,
        )  # fmt: skip
