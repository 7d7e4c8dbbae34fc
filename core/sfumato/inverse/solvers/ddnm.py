"""DDNM+ (Wang, Yu & Zhang, 2023, § 3.2–3.3): null-space sampling with noise, and time travel.

DDNM puts A⁺y into the range of A. With noise of standard deviation σ_y that is noise of σ_y/sᵢ in
the coefficient of singular value sᵢ, which the next state may hold only as long as its own noise is
larger. In the basis of V, with the kernel x_s = k₀ x̂ + c x_t + noise,

    x̂ᵢ ← x̂ᵢ + λᵢ ((A⁺y)ᵢ − x̂ᵢ),    λᵢ = min(1, √β̃ sᵢ/(k₀ σ_y)),

and the fresh noise is drawn with variance β̃ − (k₀ λᵢ σ_y/sᵢ)², so that the noise of the state is
right in total (ibid., eq. 17–19). Without noise λ = 1, which is DDNM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.inverse.capabilities import require
from sfumato.inverse.problems import Callback, Problem, Solver
from sfumato.inverse.solvers.loop import descend
from sfumato.inverse.solvers.travel import check_travel
from sfumato.inverse.spectra import one_per_item
from sfumato.noise import Streams
from sfumato.processes import Level, like
from sfumato.samplers.base import weights

__all__ = ["DDNMPlus"]


@dataclass(frozen=True)
class DDNMPlus(Solver):
    """Null-space sampling of noisy measurements.

    Args:
        steps: Steps of the grid.
        eta: Share of the process's own noise in a step, 0 to 1 (the paper uses 0.85).
        length: Levels of one stretch of time travel.
        repeats: How often each stretch is walked; 1 is no time travel.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"spectrum", "gaussian"})

    steps: int = 100
    eta: float = 1.0
    length: int = 1
    repeats: int = 1

    def __post_init__(self) -> None:
        check_travel("DDNM+", self.length, self.repeats)

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        require("DDNM+", self.needs, problem.operator, problem.denoiser)
        operator = problem.linear
        spectrum = operator.spectrum
        assert spectrum is not None
        measured = spectrum.project(operator.restrict(problem.y))
        singular, seen = spectrum.matched(measured)
        divisor = singular.where(seen, 1.0)
        wanted = measured / divisor
        sigma = one_per_item(problem.noise.max().sqrt(), measured) / divisor

        def step(x_t: Tensor, t: Level, s: Level) -> tuple[Tensor, Tensor]:
            keep, carry, variance = (like(w, x_t) for w in weights(t, s, self.eta))
            x_hat = problem.denoiser(x_t, t, problem.condition).mean
            noisy = keep * sigma
            trust = torch.where(noisy > 0, variance.sqrt() / noisy.where(noisy > 0, 1.0), 1.0)
            trust = torch.where(seen, trust.clamp(max=1.0), 0.0).to(singular.dtype)
            if s.clean:
                # there is no noise to hide in; the weight that the last noisy level had stays
                ratio = like(t.ratio, x_t)
                trust = torch.where(seen, (ratio / sigma.clamp(min=1e-30)).clamp(max=1.0), 0.0)
                trust = trust.to(singular.dtype)
            moved = spectrum.synthesise(trust * (wanted - spectrum.analyse(x_hat)))
            z = streams.normal(x_t)
            if bool((variance > 0).any()):
                left = (variance - (noisy * trust) ** 2).clamp(min=0) / variance
                change = (left.sqrt() - 1).to(singular.dtype) * spectrum.analyse(z)
                shrunk = spectrum.synthesise(change)
                z = variance.sqrt() * (z + shrunk)
            else:
                z = torch.zeros_like(x_t)
            mean = x_hat + moved
            return keep * mean + carry * x_t + z, mean

        return descend(
            problem, streams, step,
            steps=self.steps, length=self.length, repeats=self.repeats, callback=callback,
        )  # fmt: skip
