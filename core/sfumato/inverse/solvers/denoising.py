"""Denoising: the measurement is itself a state of the process, so the prior does the rest.

If y = x₀ + σ_y n, then α y is distributed as x_t is at the level with σ/α = σ_y, and x₀ given y is
x₀ given x_t: the prior's own reverse process, started there, draws from the posterior. There is no
guidance and nothing is approximated but the network and the steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from sfumato.inverse.capabilities import require
from sfumato.inverse.problems import Callback, Problem, Solver
from sfumato.noise import Streams
from sfumato.processes import like
from sfumato.processes.grids import log_snr
from sfumato.samplers import DDPM, Sampler, run

__all__ = ["Denoising"]


@dataclass(frozen=True)
class Denoising(Solver):
    """The reverse process from the level of the noise.

    Args:
        sampler: Rule for one step.
        steps: Steps from the noise level of y to data.
        end: Smallest ratio of noise to data that is visited, as a share of the data's spread
            that one step takes to 0.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"identity", "gaussian", "noisy"})

    sampler: Sampler = field(default_factory=lambda: DDPM("calibrated"))
    steps: int = 15
    end: float | None = None

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        require("Denoising", self.needs, problem.operator, problem.denoiser)
        process = problem.denoiser.process
        ratio = float(problem.noise.sqrt())
        lowest = process.level(process.schedule.t_min).ratio.item()
        end = min(max(self.end or lowest, lowest), ratio)
        grid = log_snr(process, self.steps, start=max(ratio, lowest), end=end)
        x = like(process.level(grid[0]).alpha, problem.y) * problem.y
        return run(
            self.sampler, problem.denoiser, x, grid, streams,
            condition=problem.condition, callback=callback,
        )  # fmt: skip
