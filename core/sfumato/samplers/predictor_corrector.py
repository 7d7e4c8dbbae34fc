"""Predictor–corrector sampling (Song et al., 2021, algorithms 2, 4 and 5).

A predictor steps to the next level; then Langevin dynamics at that level brings the state closer
to its distribution p_s, without moving it to another:

    x ← x + ε s(x) + √(2ε) z,    s(x) = (α x̂ − x)/σ²,    ε = 2 (ρ ‖z‖/‖s‖)².

ρ is the signal-to-noise ratio of a Langevin step. The norms are each item's own; averaging them
over a batch, as is common, would make a sample depend on its neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.linalg import norm, per_item
from sfumato.noise import Streams
from sfumato.processes import Level, combine
from sfumato.samplers.base import Denoise, Sampler
from sfumato.samplers.sde import EulerMaruyama

__all__ = ["PredictorCorrector"]


@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Any sampler with Langevin steps after each of its own.

    ε is meant for data of many dimensions, where ‖z‖ and ‖s‖ hardly vary. In a few it varies with
    the state, which biases the samples: of a 1-d Gaussian the corrector makes heavy tails.

    Args:
        predictor: The sampler that goes to the next level.
        corrections: Langevin steps per level, one evaluation each, 1 or more.
        snr: ρ, above 0; 0.16 in Song et al.
    """

    predictor: Sampler = field(default_factory=EulerMaruyama)
    corrections: int = 1
    snr: float = 0.16

    def __post_init__(self) -> None:
        if self.corrections < 1 or not 0 < self.snr <= 1:
            raise InvalidOptionError(
                "predictor-corrector", f"corrections={self.corrections}, snr={self.snr}",
                "use 1 or more corrections and 0 < snr <= 1",
            )  # fmt: skip

    @property
    def evaluations(self) -> int:
        return self.predictor.evaluations + self.corrections

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
        x = self.predictor.step(denoise, x_t, t, s, streams, history)
        if s.clean:
            return x
        for _ in range(self.corrections):
            x = self.langevin(denoise, x, s, streams)
        return x

    def langevin(self, denoise: Denoise, x: Tensor, s: Level, streams: Streams) -> Tensor:
        """One corrector step."""
        alpha, sigma = s.scales
        score = combine(-1 / sigma**2, x, alpha / sigma**2, denoise(x, s).mean)
        z = streams.normal(x)
        epsilon = per_item(2 * (self.snr * norm(z) / norm(score).clamp(min=1e-30)) ** 2, x)
        return torch.addcmul(x, epsilon, score).addcmul_((2 * epsilon).sqrt(), z)
