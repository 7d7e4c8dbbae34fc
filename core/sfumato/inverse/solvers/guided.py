"""Guided sampling: a guide's posterior denoiser run backwards by any sampler."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato.inverse.capabilities import require
from sfumato.inverse.coarse import shows_coarse
from sfumato.inverse.problems import Callback, Guide, Problem, Solver
from sfumato.inverse.solvers.admm import ADMM
from sfumato.noise import Streams
from sfumato.processes.grids import GRIDS
from sfumato.samplers import DDPM, Estimated, Noise, Sampler, Start, Step, run

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
        coarse_start: The same where y shows all coarse structure (``sfumato.inverse.coarse``), for
            linear operators with Gaussian noise. The grid is as dense as from ``start``, so it has
            fewer steps. ``None`` for no difference.
        end: Smallest ratio other than 0; the process's smallest if not given.
        initial: What to start from: ``"noise"``, or ``"pinv"``: the noised estimate A⁺y, for linear
            operators, with a ``start`` at which it is good enough (CCDF; Chung, Sim & Ye, 2022).
        mean_over: First and last step, as shares of all in [0, 1], whose estimates may count for
            the posterior mean (``sfumato.expectations``); (0, 0) is the first alone, which has
            the least chance in it where the guide is exact. ``None`` leaves the mean to the
            samples.
        pilot_steps: Steps of the quick estimate (``ADMM``) that the posterior mean leans on as far
            as the samples bear it out (``sfumato.expectations``); 0 for none.
    """

    lockstep: ClassVar[bool] = True

    guide: Guide
    sampler: Sampler = field(default_factory=lambda: DDPM("calibrated"))
    steps: int = 20
    grid: str = "log-snr"
    start: float | None = None
    coarse_start: float | None = None
    end: float | None = None
    mean_over: tuple[float, float] | None = None
    initial: str = "noise"
    pilot_steps: int = 0

    def __post_init__(self) -> None:
        if self.mean_over is not None and not 0 <= self.mean_over[0] <= self.mean_over[1] <= 1:
            raise InvalidOptionError(
                "solver", f"mean_over={self.mean_over}", "use two shares in [0, 1] in order"
            )

        if self.initial not in {"noise", "pinv"}:
            raise InvalidOptionError("solver", f"initial={self.initial!r}", "use 'noise' or 'pinv'")
        if self.initial == "pinv" and self.start is None:
            raise InvalidOptionError("solver", "initial='pinv' without start", "give a ratio σ/α")

    @property
    def exact(self) -> bool:
        return self.guide.exact

    @property
    def pilot(self) -> Solver | None:
        return ADMM(self.pilot_steps) if self.pilot_steps else None

    def mean_from(self, step: Step) -> Tensor | None:
        if self.mean_over is None:
            return None
        first, last = (share * step.count for share in self.mean_over)
        if not first <= step.index <= last:
            return None
        means = [estimate.mean for estimate in step.estimates]
        return torch.stack(means).mean(dim=0)

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        if self.grid not in GRIDS:
            raise UnknownNameError("grid", self.grid, GRIDS)
        name = type(self.guide).__name__
        require(name, self.guide.needs, problem.operator, problem.denoiser)
        process = problem.denoiser.process
        steps, start = self.span(problem)
        grid = GRIDS[self.grid](process, steps, start=start, end=self.end)
        x = self.begin(problem)(process, problem.blank(), process.level(grid[0]), streams)
        posterior = problem.posterior(self.guide)
        return run(self.sampler, posterior, x, grid, streams, callback=callback)

    def span(self, problem: Problem) -> tuple[int, float | None]:
        """Number of steps, and σ/α to start at."""
        low, high, end = self.coarse_start, self.start, self.end
        if low is None or high is None or end is None or not end < low < high:
            return self.steps, high
        if not shows_coarse(problem):
            return self.steps, high
        share = math.log(low / end) / math.log(high / end)
        return 1 + round((self.steps - 1) * share), low

    def begin(self, problem: Problem) -> Start:
        """Where to start from."""
        if self.initial == "noise" or self.start is None:
            return Noise()
        require("starting from A⁺y", frozenset({"linear"}), problem.operator, problem.denoiser)
        return Estimated(problem.linear.pinv(problem.y), self.start)
