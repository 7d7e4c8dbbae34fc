"""Gibbs sampling between x₀ and x_t at every level, for denoisers that can draw x₀.

At level t, alternate

    x₀ ~ p(x₀ | x_t),        x_t ~ q(x_t | x₀) = N(α x₀, σ²),

``rounds`` times, then step down with the last draw (calibrated DDPM). With exact draws every round
leaves p(x_t) as it is. With approximate ones, as a guide's are, a round lets what one element of
x₀ has learnt from the measurement reach its neighbours through the network before the level is
left, which a single pass downwards never revises. At the lowest levels a network revises nothing,
and each round adds what it always gets wrong there, so ``single_below`` makes do with one draw.

It is the split Gibbs sampler of Vono et al. (2019) and Wu et al. (2024) with one network evaluation
per draw, and RePaint's resampling (Lugmayr et al., 2022) without a jump.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Level, like
from sfumato.samplers.base import Denoise, Sampler, calibrated, deviation

__all__ = ["Gibbs"]


@dataclass(frozen=True)
class Gibbs(Sampler):
    """Rounds of Gibbs sampling at each level.

    Args:
        rounds: Draws of x₀ per level, each one network evaluation; 1 is calibrated DDPM.
        single_below: σ/α below which a level gets one draw.
    """

    rounds: int = 4
    single_below: float = 0.0

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InvalidOptionError("Gibbs", f"rounds={self.rounds}", "use 1 or more")
        if not self.single_below >= 0:
            raise InvalidOptionError("Gibbs", f"single_below={self.single_below}", "use 0 or more")

    @property
    def evaluations(self) -> int:
        """Denoiser calls per step, at most."""
        return self.rounds

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
        rounds = 1 if t.ratio.max().item() < self.single_below else self.rounds
        for _ in range(rounds - 1):
            x_t = renoised(checked(denoise(x_t, t)), t, streams)
        return calibrated(checked(denoise(x_t, t)), x_t, t, s, streams)


def renoised(estimate: Estimate, t: Level, streams: Streams) -> Tensor:
    """A draw of x₀, brought to level t: α x₀ + σ z."""
    alpha, sigma = t.scales
    if estimate.sampler is None and estimate.variance is not None:
        # independent elements: the noise of the draw and of the level is drawn at once
        x_hat = estimate.mean
        spread = deviation(alpha**2, estimate.variance, sigma**2, x_hat)
        return streams.perturb_(like(alpha, x_hat) * x_hat, spread)
    x_0 = estimate.draw(streams)
    return streams.perturb_(like(alpha, x_0) * x_0, like(sigma, x_0))


def checked(estimate: Estimate) -> Estimate:
    if not estimate.drawable:
        raise UnsupportedError(
            "Gibbs", "a denoiser that knows its spread", "this one returns a mean only",
            ["DDPM('small')", "WithVariance(denoiser)"],
        )  # fmt: skip
    return estimate
