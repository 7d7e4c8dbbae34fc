"""DiffPIR (Zhu et al., 2023): a proximal step on the measurement after each denoising step.

    μ = argmin_x ‖y − A x‖²/σ_y² + λ ‖x − x̂‖²/ρ²,      ρ = σ/α,

which is the mean of x₀ ~ N(x̂, ρ²/λ) given y: λ is in likelihood units, so it does not depend on
the step count. The paper's ζ, which mixes the predicted noise with fresh noise, is the sampler's η
(DDIM(eta)). Nothing is differentiated; the prior's correlations are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import InvalidOptionError
from sfumato.inverse.problems import Guide, Problem
from sfumato.processes import Level, like

__all__ = ["DiffPIR"]


@dataclass(frozen=True)
class DiffPIR(Guide):
    """The proximal step.

    Args:
        strength: λ > 0, how much the denoised signal weighs against the measurement; the paper uses
            1 to 25.
        iterations: Largest number of products with A and A* where no closed form is known.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"linear", "gaussian"})

    strength: float = 1.0
    iterations: int = 50

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise InvalidOptionError("DiffPIR", f"strength={self.strength}", "use a number above 0")

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        estimate = problem.denoiser(x_t, t, problem.condition)
        variance = like(t.ratio**2 / self.strength, estimate.mean)
        mean = problem.linear.posterior_mean(
            estimate.mean, problem.y, variance, problem.noise, iterations=self.iterations
        )
        return estimate.with_mean(mean)
