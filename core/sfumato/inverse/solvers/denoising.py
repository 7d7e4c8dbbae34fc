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
from sfumato.samplers import DPMSolver, Sampler, Step, run

__all__ = ["Denoising"]


@dataclass(frozen=True)
class Denoising(Solver):
    """The reverse process from the level of the noise.

    Args:
        sampler: Rule for one step. The second-order SDE solver has the spread of its limit from
            10 steps on; calibrated DDPM needs more than 40 (measured with ``photo``).
        steps: Steps from the noise level of y to data.
        end: Smallest noise-to-signal ratio other than 0, as a share of that of y.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"identity", "gaussian", "noisy"})

    sampler: Sampler = field(default_factory=lambda: DPMSolver(order=2, eta=1.0))
    steps: int = 10
    end: float = 0.05

    @property
    def lockstep(self) -> bool:
        return self.sampler.calls(self.steps) is not None

    @property
    def exact(self) -> bool:
        return True

    def mean_from(self, step: Step) -> Tensor | None:
        return step.estimate.mean if step.index == 0 else None  # of y itself: nothing varies yet

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        require("Denoising", self.needs, problem.operator, problem.denoiser)
        process = problem.denoiser.process
        ratio = float(problem.noise.sqrt())
        lowest = process.level(process.schedule.t_min).ratio.item()
        end = min(max(self.end * ratio, lowest), ratio)
        grid = log_snr(process, self.steps, start=max(ratio, lowest), end=end)
        x = like(process.level(grid[0]).alpha, problem.y) * problem.y
        return run(
            self.sampler, problem.denoiser, x, grid, streams,
            condition=problem.condition, callback=callback,
        )  # fmt: skip
