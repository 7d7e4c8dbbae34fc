"""Split Gibbs sampling (PnP-DM; Wu et al., 2024; cf. Coeurdoux et al., 2024).

Prior and likelihood are split by a second variable z with coupling ρ,

    p(x, z | y) ∝ p(x) exp(−‖x − z‖²/(2ρ²)) p(y | z),

and drawn in turn: z ~ N(x, ρ²) · p(y | z), exactly if A is linear with Gaussian noise; x given z is
the denoising problem z = x + ρ n, solved by running the prior's sampler from the level σ/α = ρ
down. As ρ → 0 the marginal of x tends to the posterior; ρ falls geometrically to ``rho_min``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import InvalidOptionError
from sfumato.inverse.capabilities import data_spread, require
from sfumato.inverse.operators import Linear
from sfumato.inverse.problems import Callback, Problem, Solver
from sfumato.inverse.solvers.langevin import inner_draw
from sfumato.inverse.solvers.loop import finite
from sfumato.noise import Streams
from sfumato.processes import like
from sfumato.processes.grids import log_snr
from sfumato.samplers import DDPM, Sampler
from sfumato.samplers.base import Step

__all__ = ["SplitGibbs"]


@dataclass(frozen=True)
class SplitGibbs(Solver):
    """Plug-and-play split Gibbs sampling.

    Args:
        steps: Pairs of draws.
        inner: Steps of the prior's sampler in each draw of x.
        rho_max: First ρ, in standard deviations of the data.
        rho_min: Last ρ, in standard deviations of the data; sets the bias that stays.
        langevin: Langevin steps of each draw of z, where it has no closed form.
        sampler: Rule for one step of the prior.
    """

    steps: int = 60
    inner: int = 5
    rho_max: float = 10.0
    rho_min: float = 0.1
    langevin: int = 30
    sampler: Sampler = field(default_factory=DDPM)

    def __post_init__(self) -> None:
        if not 0 < self.rho_min <= self.rho_max:
            raise InvalidOptionError(
                "SplitGibbs",
                f"rho_min={self.rho_min}, rho_max={self.rho_max}",
                "use 0 < rho_min <= rho_max",
            )
        if min(self.steps, self.inner, self.langevin) < 1:
            raise InvalidOptionError(
                "SplitGibbs",
                f"steps={self.steps}, inner={self.inner}, langevin={self.langevin}",
                "use 1 or more",
            )

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        if not isinstance(problem.operator, Linear):
            require("SplitGibbs", {"noisy"}, problem.operator, problem.denoiser)
        process, spread = problem.denoiser.process, data_spread(problem.denoiser, problem.blank())
        blank = problem.blank()

        def denoise(x_t: Tensor, t: object) -> Estimate:
            return problem.denoiser(x_t, t, problem.condition)  # type: ignore[arg-type]

        with torch.no_grad():
            x = blank
            for index in range(self.steps):
                # geometric in the first three quarters, then at its end
                part = min(1.0, index / max(1.0, 0.75 * (self.steps - 1)))
                rho = spread * self.rho_max * (self.rho_min / self.rho_max) ** part
                variance = torch.tensor(rho**2, dtype=torch.float64)
                z = inner_draw(problem, x, variance, streams, iterations=self.langevin)
                levels = process.levels(log_snr(process, self.inner, start=rho))
                x = like(levels[0].alpha, z) * z
                for t, s in itertools.pairwise(levels):
                    x = self.sampler.step(denoise, x, t, s, streams, [])
                if callback is not None:
                    callback(Step(index, self.steps, levels[-1], x, Estimate(z)))
        return finite(x)
