"""Restart sampling (Xu et al., 2023): up by fresh noise and down again, several times.

An ODE sampler keeps what errors it has made; an SDE sampler forgets them, but needs more steps.
Restart does one after the other: whenever the trajectory comes down to the ratio σ/α = ``low``,

    x ← x + noise that takes it from ``low`` up to ``high``;    then the ODE back down to ``low``,

``rounds`` times. Each round contracts the error of what came before.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from torch import Tensor

from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Level, karras
from sfumato.samplers.base import Denoise, Sampler
from sfumato.samplers.heun import Heun

__all__ = ["Restart"]


@dataclass(frozen=True)
class Restart(Sampler):
    """Any sampler with restarts in one interval.

    Args:
        inner: The sampler, deterministic as a rule.
        rounds: How often to go up, 1 or more.
        steps: Steps of ``inner`` on each way down.
        low: σ/α to go up from; the first level of the grid at or below it is taken.
        high: σ/α to go up to.
    """

    inner: Sampler = field(default_factory=Heun)
    rounds: int = 2
    steps: int = 3
    low: float = 0.14
    high: float = 0.3

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.steps < 1 or not 0 < self.low < self.high:
            raise InvalidOptionError(
                "restart", f"rounds={self.rounds}, steps={self.steps}, low={self.low}, "
                f"high={self.high}", "use 1 or more rounds and steps, and 0 < low < high",
            )  # fmt: skip

    @property
    def evaluations(self) -> int:
        return self.inner.evaluations

    def calls(self, steps: int) -> None:
        return None

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
        x = self.inner.step(denoise, x_t, t, s, streams, history)
        reach = self.low * (1 + 1e-6)  # a grid made to end at ``low`` ends there up to rounding
        if s.clean or not (float(s.ratio) <= reach < float(t.ratio)):
            return x
        process = s.process
        if process is None:
            raise UnsupportedError("restart", "levels of a process", "these belong to none")
        up = process.at_ratio(self.high)
        grid = karras(process, self.steps + 1, start=float(up.ratio), end=float(s.ratio))
        levels = [up, *process.levels(grid)[1:-2], s]
        for _ in range(self.rounds):
            x = process.renoise(x, s, up, streams.normal(x))
            history.clear()
            for a, b in itertools.pairwise(levels):
                x = self.inner.step(denoise, x, a, b, streams, history)
        history.clear()
        return x
