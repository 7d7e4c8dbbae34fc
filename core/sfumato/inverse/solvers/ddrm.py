"""DDRM (Kawar et al., 2022): sampling in the singular basis of the operator.

With A = U diag(d) V*, x̄ = V* x_t/α, ȳᵢ = (U* y)ᵢ/dᵢ and h = V* x̂, and ρ = σ/α at the levels, each
coefficient at the cleaner level s is drawn as (ibid., eq. 7–8)

    dᵢ = 0:            N(h + √(1−η²) ρ_s (x̄ − h)/ρ_t,          η² ρ_s²)
    ρ_s < σ_y/dᵢ:      N(h + √(1−η²) ρ_s (ȳ − h)/(σ_y/dᵢ),     η² ρ_s²)
    ρ_s ≥ σ_y/dᵢ:      N((1−η_b) h + η_b ȳ,                    ρ_s² − η_b² σ_y²/dᵢ²)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.capabilities import require
from sfumato.inverse.problems import Callback, Problem, Solver
from sfumato.inverse.solvers.loop import descend
from sfumato.inverse.spectra import one_per_item
from sfumato.noise import Streams
from sfumato.processes import Level, like

__all__ = ["DDRM"]


@dataclass(frozen=True)
class DDRM(Solver):
    """Denoising diffusion restoration.

    Args:
        steps: Steps of the grid.
        eta: η, 0 to 1: share of fresh noise where A sees little or nothing.
        eta_b: η_b, 0 to 1: weight of the measurement where it is better than the state.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"spectrum", "gaussian"})

    steps: int = 20
    eta: float = 0.85
    eta_b: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.eta <= 1 and 0 <= self.eta_b <= 1):
            raise InvalidOptionError("DDRM", f"eta={self.eta}, eta_b={self.eta_b}", "use 0 to 1")

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        require("DDRM", self.needs, problem.operator, problem.denoiser)
        spectrum = problem.linear.spectrum
        assert spectrum is not None
        measured = spectrum.project(problem.operator.restrict(problem.y))
        singular, seen = spectrum.matched(measured)
        divisor = singular.where(seen, 1.0)
        wanted = measured / divisor
        blurred = one_per_item(problem.noise.max().sqrt(), measured) / divisor  # σ_y/d
        eta, eta_b, free = self.eta, self.eta_b, (1 - self.eta**2) ** 0.5

        def start(level: Level) -> Tensor:
            ratio = like(level.ratio, measured)
            z = streams.normal(problem.blank())
            c = spectrum.analyse(z)
            fresh = (ratio**2 - blurred**2).clamp(min=0).sqrt() * c
            first = ratio * z + spectrum.synthesise(
                torch.where(seen, wanted + fresh - ratio * c, 0.0)
            )
            return like(level.alpha, first) * first

        def step(x_t: Tensor, t: Level, s: Level) -> tuple[Tensor, Tensor]:
            high, low = like(t.ratio, x_t), like(s.ratio, x_t)
            x_hat = problem.denoiser(x_t, t, problem.condition).mean
            z = streams.normal(x_t)
            # as if nothing were seen, then the seen coefficients are put in their places
            x = x_hat + free * low * (x_t / like(t.alpha, x_t) - x_hat) / high + eta * low * z
            h, c = spectrum.analyse(x_hat), spectrum.analyse(z)
            coarse = low < blurred
            toward = torch.where(coarse, blurred, 1.0)
            between = h + free * low * (wanted - h) / toward + eta * low * c
            spread = (low**2 - (eta_b * blurred) ** 2).clamp(min=0).sqrt()
            trusted = (1 - eta_b) * h + eta_b * wanted + spread * c
            drawn = torch.where(coarse, between, trusted)
            x = x + spectrum.synthesise(torch.where(seen, drawn - spectrum.analyse(x), 0.0))
            return like(s.alpha, x) * x, x_hat

        return descend(problem, streams, step, steps=self.steps, start=start, callback=callback)
