"""Levels that are looked up in the state, not in the plan (San-Roman, Nachmani & Wolf, 2021).

A sampler's errors leave a state with more or less noise than its grid says, and the denoiser is
then told the wrong level. A second estimator looks at the state and says what it sees, α̂; the step
starts there, and the rest of the schedule is laid anew from there. Here the times that are left
keep their proportions,

    t̂ = time of ln σ̂/α̂,    ŝ = s t̂/t,

or, given the whole grid as a plan, the variances of the steps that are left do: the linear schedule
of the paper on the grid ``var-linear``, Fibonacci's on ``fibonacci``. Each item has its own levels.
In few dimensions a state does not show its level; from about 64 it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Level
from sfumato.processes.grids import relaid
from sfumato.samplers.base import Denoise, Sampler
from sfumato.samplers.ddim import DDPM

__all__ = ["Relevelled"]


@dataclass(frozen=True)
class Relevelled(Sampler):
    """Any one-step sampler with levels from an estimator.

    Args:
        estimate: x_t ↦ ln σ/α of each item, ``[batch]``; such as a trained ``LevelNet``.
        inner: What takes the step.
        most: Largest factor by which an estimate may change σ/α; what is beyond is clipped.
        plan: The grid that is run, if variances are to keep their proportions and not times.
    """

    estimate: Callable[[Tensor], Tensor]
    inner: Sampler = field(default_factory=DDPM)
    most: float = 2.0
    plan: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not self.most >= 1:
            raise InvalidOptionError("relevelled", f"most={self.most}", "use 1 or more")

    @property
    def evaluations(self) -> int:
        return self.inner.evaluations

    @property
    def stochastic(self) -> bool:
        return self.inner.stochastic

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        process = t.process
        if process is None or t.uneven:
            raise UnsupportedError(
                "estimating the level", "a level of a process, the same for all elements",
                "this one is not", ["the inner sampler"],
            )  # fmt: skip
        found = self.estimate(x_t).double().cpu()
        if found.shape != (len(x_t),):
            raise ShapeError("estimated levels", found.shape, f"{len(x_t)}, one number per item")
        # by ratio of ratios, so that a level beyond the largest is still one
        factor = (found - t.log_ratio).exp().clamp(1 / self.most, self.most)
        seen = process.at_ratio(t.ratio * factor)
        if s.clean:
            rest = s
        elif self.plan is None:
            rest = process.level(seen.t * (s.t / t.t))
        else:
            rest = process.at_ratio(relaid(process, self.plan, t.t, seen.ratio))
        return self.inner.step(denoise, x_t, seen, rest, streams, history)
