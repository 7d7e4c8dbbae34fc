"""DAPS (Zhang et al., 2025): decoupled annealing.

Each level t starts afresh: the probability-flow ODE takes x_t to a clean centre c, x₀ is drawn from
N(c, r²) · p(y | x₀), and noise of the next level is put on it,

    x_s = α_s x₀ + σ_s ε.

Consecutive states are tied by x₀ alone, so an error can be undone, also for strongly nonlinear A.
The paper takes r = ρ = σ/α; here r² = ρ²v/(ρ² + v), the variance of x₀ given x_t for data of
variance v. With linear A and Gaussian noise the inner draw is
exact; otherwise it is made of Langevin steps, which cost evaluations of A but none of the network.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import InvalidOptionError
from sfumato.inverse.capabilities import data_spread, require
from sfumato.inverse.conditioning import isotropic
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Callback, Problem, Solver
from sfumato.inverse.solvers.langevin import inner_draw
from sfumato.inverse.solvers.loop import descend
from sfumato.noise import Streams
from sfumato.processes import Level, like
from sfumato.processes.grids import log_snr
from sfumato.samplers.base import kernel

__all__ = ["DAPS"]


@dataclass(frozen=True)
class DAPS(Solver):
    """Decoupled annealing posterior sampling.

    Args:
        steps: Levels of the annealing.
        ode: Network evaluations of each ODE.
        langevin: Langevin steps of each inner draw, where it has no closed form.
    """

    steps: int = 50
    ode: int = 2
    langevin: int = 30

    def __post_init__(self) -> None:
        if self.ode < 1 or self.langevin < 1:
            raise InvalidOptionError(
                "DAPS", f"ode={self.ode}, langevin={self.langevin}", "use 1 or more"
            )

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        if not isinstance(problem.operator, Linear):
            require("DAPS with a nonlinear operator", {"noisy"}, problem.operator, problem.denoiser)

        spread = data_spread(problem.denoiser, problem.blank())

        def step(x_t: Tensor, t: Level, s: Level) -> tuple[Tensor, Tensor]:
            centre, first = flow(problem, x_t, t, streams, steps=self.ode)
            # the learned variance is an average over directions that the prior knows and those it
            # does not; y speaks of the latter, as in ``Proximal``
            variance = isotropic(problem, first, t, spread)
            x_0 = inner_draw(problem, centre, variance, streams, iterations=self.langevin)
            if s.clean:
                return x_0, x_0
            return like(s.alpha, x_0) * x_0 + like(s.sigma, x_0) * streams.normal(x_0), x_0

        return descend(problem, streams, step, steps=self.steps, callback=callback)


def flow(
    problem: Problem, x_t: Tensor, t: Level, streams: Streams, *, steps: int
) -> tuple[Tensor, Estimate]:
    """The end of the probability-flow ODE that starts in x_t, and the first estimate on its way."""
    process = problem.denoiser.process
    levels = [t, *process.levels(log_snr(process, steps, start=float(t.ratio)))[1:]]
    first: Estimate | None = None
    x = x_t
    for here, there in itertools.pairwise(levels):
        estimate = problem.denoiser(x, here, problem.condition)
        first = estimate if first is None else first
        x = kernel(estimate.mean, x, here, there, streams, eta=0.0)
    assert first is not None
    return x, first
