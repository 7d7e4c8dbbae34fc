"""Reverse diffusion sampling (Song et al., 2021, appendix E).

The step of the forward process from s to t is x_t = f x_s + G z with

    f = α_t/α_s,    G² = σ_t² − f² σ_s²,

and its reverse, discretised in the same way, is

    x_s = (2 − f) x_t + G² ∇ ln p(x_t) + G z.

For VP this is their algorithm with f = √(1 − β), G² = β; for VE it is Euler–Maruyama in σ².
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sfumato.noise import Streams
from sfumato.processes import Level, combine, like
from sfumato.samplers.base import Denoise, Sampler, root

__all__ = ["ReverseDiffusion"]


@dataclass(frozen=True)
class ReverseDiffusion(Sampler):
    """Weak order 1, one evaluation per step; the last step returns x̂.

    Steps must be short where α changes: f far below 1 makes x_t count twice.
    """

    @property
    def stochastic(self) -> bool:
        return True

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        x_hat = denoise(x_t, t).mean
        if s.clean:
            return x_hat
        (alpha_t, sigma_t), (alpha_s, sigma_s) = t.scales, s.scales
        f = alpha_t / alpha_s
        power = sigma_t**2 - (f * sigma_s) ** 2
        part = power / sigma_t**2
        x_s = combine(2 - f - part, x_t, part * alpha_t, x_hat)
        return streams.perturb_(x_s, root(like(power, x_t)))
