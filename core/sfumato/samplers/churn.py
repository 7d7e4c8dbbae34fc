"""Churn (Karras et al., 2022, algorithm 2): some noise is put back before a deterministic step.

It lets an ODE sampler forget the errors of earlier steps: with r = σ/α, the state goes up to
r̂ = (1 + γ) r, by fresh noise of variance S² (r̂² − r²) in units of the data, and steps from there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import Level, like

__all__ = ["Churn"]


@dataclass(frozen=True)
class Churn:
    """How much noise to put back, and when.

    Args:
        amount: γ, 0 to √2 − 1; S_churn/N in Karras et al. 0 is none.
        low: Smallest σ/α at which to churn.
        high: Largest.
        noise: S_noise; slightly above 1 makes up for what a network takes away too much.
    """

    amount: float = 0.0
    low: float = 0.0
    high: float = math.inf
    noise: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= math.sqrt(2) - 1 + 1e-9:
            raise InvalidOptionError("churn", f"amount={self.amount}", "use 0 to √2 − 1")
        if not (0 <= self.low <= self.high and self.noise >= 0):
            raise InvalidOptionError(
                "churn", f"low={self.low}, high={self.high}, noise={self.noise}",
                "use 0 <= low <= high and noise >= 0",
            )  # fmt: skip

    def __call__(self, x_t: Tensor, t: Level, streams: Streams) -> tuple[Tensor, Level]:
        """The state and the level to step from. The noisiest level is left as it is."""
        if self.amount == 0 or t.process is None:
            return x_t, t
        ratio = t.ratio
        if not bool(((ratio >= self.low) & (ratio <= self.high)).all()):
            return x_t, t
        up = t.process.at_ratio(ratio * (1 + self.amount))
        added = self.noise * (up.ratio**2 - ratio**2).clamp(min=0).sqrt()
        scale, spread = like(up.alpha / t.alpha, x_t), like(up.alpha * added, x_t)
        return streams.perturb_(scale * x_t, spread), up
