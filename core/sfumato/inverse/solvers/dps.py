"""DPS as its paper has it (Chung et al., 2023, algorithm 1): a step against the residual's norm.

    x_s ← step(x̂) − ζ ∇_{x_t} ‖y − A(x̂(x_t))‖,

with the norm of each item, so that an item's step does not depend on its neighbours. ζ is in no
unit: it has to be tuned per task and number of steps, and with few steps the result is close to a
sample of the prior. ``sfumato.inverse.guides.dps`` has a scale that follows from the likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.problems import Callback, Problem, Solver
from sfumato.inverse.solvers.loop import descend
from sfumato.linalg import dot
from sfumato.noise import Streams
from sfumato.processes import Level
from sfumato.samplers.base import kernel

__all__ = ["NormDPS"]


@dataclass(frozen=True)
class NormDPS(Solver):
    """Diffusion posterior sampling with the paper's step.

    Args:
        zeta: ζ > 0; the paper uses 0.3 to 1 with 1000 steps.
        steps: Steps of the grid.
        eta: Share of the process's own noise in a step.
    """

    zeta: float = 1.0
    steps: int = 1000
    eta: float = 1.0

    def __post_init__(self) -> None:
        if not self.zeta > 0:
            raise InvalidOptionError("DPS", f"zeta={self.zeta}", "use a number above 0")

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        def step(x_t: Tensor, t: Level, s: Level) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                x = x_t.detach().requires_grad_()
                x_hat = problem.denoiser(x, t, problem.condition).mean
                residual = problem.residual(problem.operator(x_hat))
                # of a zero residual the norm has no gradient; 0 is right
                length = (dot(residual, residual) + 1e-30).sqrt()
                (gradient,) = torch.autograd.grad(length.sum(), x)
            x_hat = x_hat.detach()
            x_s = kernel(x_hat, x_t, t, s, streams, eta=self.eta)
            return x_s - self.zeta * gradient, x_hat

        return descend(problem, streams, step, steps=self.steps, callback=callback)
