"""Guided sampling: a guide's posterior denoiser run backwards by any sampler."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sfumato.errors import UnknownNameError
from sfumato.inverse.capabilities import require
from sfumato.inverse.problems import Callback, Guide, Problem, Solver
from sfumato.noise import Streams
from sfumato.processes.grids import GRIDS
from sfumato.samplers import DDPM, Sampler, run

__all__ = ["Guided"]


@dataclass(frozen=True)
class Guided(Solver):
    """Samples the posterior that ``guide`` describes.

    Args:
        guide: Approximation of E[x₀ | x_t, y].
        sampler: Rule for one step.
        steps: Steps of the grid.
        grid: Name of the grid: ``"log-snr"``, ``"karras"`` or ``"uniform"``.
        start: Noise-to-signal ratio to start at; the process's largest if not given.
        end: Smallest ratio other than 0; the process's smallest if not given.
    """

    guide: Guide
    sampler: Sampler = field(default_factory=lambda: DDPM("calibrated"))
    steps: int = 20
    grid: str = "log-snr"
    start: float | None = None
    end: float | None = None

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        if self.grid not in GRIDS:
            raise UnknownNameError("grid", self.grid, GRIDS)
        name = type(self.guide).__name__
        require(name, self.guide.needs, problem.operator, problem.denoiser)
        process = problem.denoiser.process
        grid = GRIDS[self.grid](process, self.steps, start=self.start, end=self.end)
        x = process.start(problem.blank(), process.level(grid[0]), streams)
        posterior = problem.posterior(self.guide)
        return run(self.sampler, posterior, x, grid, streams, callback=callback)
