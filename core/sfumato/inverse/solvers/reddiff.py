"""RED-diff (Mardani et al., 2024): the posterior's mode by stochastic optimisation.

A point m is fitted to the posterior. Noise is put on it at one level after another, noisy to clean,
and the network's opinion of that noise regularises the data term,

    ∇_m = −∇ ln p(y | A(m)) + (λ/v) wₜ (ε̂(x_t) − ε),      x_t = α m + σ ε,   wₜ = ρ = σ/α,

for Adam to follow (ibid., algorithm 1). Since ε̂ − ε = (m − x̂)/ρ the second term is λ (m − x̂)/v; v,
the variance of the data, puts λ in likelihood units. A point estimate: its spread means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.capabilities import data_spread
from sfumato.inverse.guides.dps import score
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Callback, Problem, Solver
from sfumato.inverse.solvers.loop import descend
from sfumato.noise import Streams
from sfumato.processes import Level

__all__ = ["REDdiff"]


@dataclass(frozen=True)
class REDdiff(Solver):
    """Regularisation by denoising diffusion.

    Args:
        weight: λ > 0.
        steps: Levels, one network evaluation each; the paper uses 1000.
        rate: Step size of Adam, in standard deviations of the data.
    """

    weight: float = 0.25
    steps: int = 200
    rate: float = 0.1

    def __post_init__(self) -> None:
        if not (self.weight > 0 and self.rate > 0):
            raise InvalidOptionError(
                "RED-diff", f"weight={self.weight}, rate={self.rate}", "use numbers above 0"
            )

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        spread = data_spread(problem.denoiser, problem.blank())
        operator = problem.operator
        adam = Adam(problem.blank(), self.rate * spread)

        def start(level: Level) -> Tensor:
            blank = problem.blank()
            if not isinstance(operator, Linear) or operator.likelihood.variance is None:
                return blank
            # A⁺y would start with all the noise of what A hardly sees
            v = torch.tensor(spread**2, dtype=torch.float64)
            return operator.posterior_mean(blank, problem.y, v, problem.noise)

        def step(m: Tensor, t: Level, s: Level) -> tuple[Tensor, Tensor]:
            x_t = problem.denoiser.process.corrupt(m, t, streams.normal(m))
            x_hat = problem.denoiser(x_t, t, problem.condition).mean
            z, adjoint = operator.linearise(m)
            gradient = self.weight / spread**2 * (m - x_hat) - adjoint(score(problem, z))
            return m - adam(gradient), x_hat

        return descend(problem, streams, step, steps=self.steps, start=start, callback=callback)


class Adam:
    """Steps of Adam (Kingma & Ba, 2015) with the paper's β = (0.9, 0.99); each element is alone."""

    def __init__(self, blank: Tensor, rate: float) -> None:
        self.first, self.second = blank, blank.abs()
        self.rate, self.count = rate, 0

    def __call__(self, gradient: Tensor) -> Tensor:
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.99 * self.second + 0.01 * gradient.abs() ** 2
        first = self.first / (1 - 0.9**self.count)
        second = self.second / (1 - 0.99**self.count)
        return self.rate * first / (second.sqrt() + 1e-8)
