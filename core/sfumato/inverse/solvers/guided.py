"""Guided sampling: a guide's posterior denoiser run backwards by any sampler."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato.inverse.capabilities import require
from sfumato.inverse.openness import open_deviation
from sfumato.inverse.problems import Callback, First, Guide, Problem, Solver
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
        end: Smallest ratio other than 0; the process's smallest if not given.
        initial: What to start from: ``"noise"``, or ``"pinv"``: the noised estimate A⁺y, for linear
            operators, with a ``start`` at which it is good enough (CCDF; Chung, Sim & Ye, 2022).
        mean_over: First and last step, as shares of all in [0, 1], whose estimates may count for
            the posterior mean (``sfumato.expectations``); (0, 0) is the first alone, which has
            the least chance in it where the guide is exact. ``None`` leaves the mean to the
            samples.
        pilot_steps: Steps of the quick estimate (``ADMM``) that the posterior mean leans on as far
            as the samples bear it out (``sfumato.expectations``); 0 for none.
        pilot_start: Sampling starts from that estimate, at this many times what y leaves open
            (``sfumato.inverse.openness``), where that is a lower noise than ``start``. The grid is
            as dense as from ``start``, so it has fewer steps. ``None`` for no such start.
    """

    guide: Guide
    sampler: Sampler = field(default_factory=lambda: DDPM("calibrated"))
    steps: int = 20
    grid: str = "log-snr"
    start: float | None = None
    end: float | None = None
    mean_over: tuple[float, float] | None = None
    initial: str = "noise"
    pilot_steps: int = 0
    pilot_start: float | None = None

    def __post_init__(self) -> None:
        if self.mean_over is not None and not 0 <= self.mean_over[0] <= self.mean_over[1] <= 1:
            raise InvalidOptionError(
                "solver", f"mean_over={self.mean_over}", "use two shares in [0, 1] in order"
            )

        if self.pilot_start is not None and not self.pilot_start > 0:
            raise InvalidOptionError("solver", f"pilot_start={self.pilot_start}", "use more than 0")
        if self.initial not in {"noise", "pinv"}:
            raise InvalidOptionError("solver", f"initial={self.initial!r}", "use 'noise' or 'pinv'")
        if self.initial == "pinv" and self.start is None:
            raise InvalidOptionError("solver", "initial='pinv' without start", "give a ratio σ/α")

    @property
    def exact(self) -> bool:
        return self.guide.exact

    @property
    def lockstep(self) -> bool:
        return self.sampler.calls(self.steps) is not None

    @property
    def prepares(self) -> bool:
        return self.pilot_steps > 0 and not self.exact

    def prepare(
        self, problem: Problem, streams: Streams, *, n: int = 1, callback: Callback | None = None
    ) -> First | None:
        start = self.lower(problem)
        if not self.prepares or (n == 1 and start is None):
            return None
        return First(ADMM(self.pilot_steps)(problem, streams, callback=callback), start)

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
        first = problem.first or self.prepare(problem, streams)
        steps, start = self.span(None if first is None else first.start)
        grid = GRIDS[self.grid](process, steps, start=start, end=self.end)
        begin = self.begin(problem, first)
        x = begin(process, problem.blank(), process.level(grid[0]), streams)
        posterior = problem.posterior(self.guide)
        return run(self.sampler, posterior, x, grid, streams, callback=callback)

    def lower(self, problem: Problem) -> float | None:
        """σ/α below ``start`` to start at from the quick estimate; ``None`` if there is no such."""
        if self.pilot_start is None or self.start is None or not self.prepares:
            return None
        low = max(self.pilot_start * open_deviation(problem), 2 * (self.end or 0.0))
        return low if 0 < low < self.start else None

    def span(self, lower: float | None) -> tuple[int, float | None]:
        """Number of steps, and σ/α to start at."""
        if lower is None or self.start is None or not self.end:
            return self.steps, lower or self.start
        share = math.log(lower / self.end) / math.log(self.start / self.end)
        return 1 + round((self.steps - 1) * share), lower

    def begin(self, problem: Problem, first: First | None) -> Start:
        """Where to start from."""
        if first is not None and first.start is not None:
            return Estimated(first.estimate, first.start)
        if self.initial == "noise" or self.start is None:
            return Noise()
        require("starting from A⁺y", frozenset({"linear"}), problem.operator, problem.denoiser)
        return Estimated(problem.linear.pinv(problem.y), self.start)
