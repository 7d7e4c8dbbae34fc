"""Adaptive steps for the reverse SDE (*Gotta Go Fast*; Jolicoeur-Martineau et al., 2021).

In y = x/α and R = (σ/α)² the reverse SDE is dy = ½(1 + η²)(y − x̂)/R dR + η dw̄. A step of length h
in ln σ/α is taken by Euler–Maruyama, and again with the drift averaged over both ends and the same
noise (stochastic improved Euler):

    y' = y + D(y, R_t) + n,    y'' = y + ½ (D(y, R_t) + D(y', R_s)) + n.

Their difference estimates the error,

    e = ‖(y'' − y')/δ‖/√d,    δ = max(δ_abs, δ_rel max(|y''|, |y before|)).

e ≤ 1 accepts y''; either way the next length is h ← 0.9 h e^{−0.9}. *Every item has its own step
size* and its own noise, so a sample does not depend on its neighbours.

As published, a step that is refused draws its noise anew, and large noise is refused more often
than small. In many dimensions errors vary little and this is nothing; in one or two, samples lack
spread whatever the tolerance is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level, like
from sfumato.samplers.base import Denoise, Sampler

__all__ = ["Adaptive"]

SAFETY, POWER = 0.9, 0.9
SHORTEST = 1e-4
"""Steps of this length in ln σ/α are accepted whatever their error."""


@dataclass(frozen=True)
class Adaptive(Sampler):
    """As many steps as the tolerance asks for, between two levels of the grid.

    A grid of two steps, from the start to the end and to clean data, leaves all to the tolerance.

    Args:
        relative: δ_rel, above 0.
        absolute: δ_abs, in model units, above 0.
        eta: 0 solves the ODE, 1 the reverse SDE.
        first: First length tried, in ln σ/α.
    """

    relative: float = 0.02
    absolute: float = 0.01
    eta: float = 1.0
    first: float = 0.05

    def __post_init__(self) -> None:
        numbers = (self.relative, self.absolute, self.first)
        if not all(0 < value < math.inf for value in numbers) or not 0 <= self.eta <= 1:
            raise InvalidOptionError(
                "adaptive sampler", f"{self}", "use tolerances and a length above 0, eta 0 to 1"
            )

    @property
    def evaluations(self) -> int:
        """Of one try."""
        return 2

    def calls(self, steps: int) -> None:
        return None

    @property
    def stochastic(self) -> bool:
        return self.eta > 0

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        if s.clean:
            return denoise(x_t, t).mean
        if t.process is None or t.uneven:
            raise UnsupportedError(
                "the adaptive sampler", "even levels of a process", "these are not",
                ["euler-maruyama"],
            )  # fmt: skip
        process, count = t.process, len(x_t)
        place = t.log_ratio.expand(count).clone()
        end = s.log_ratio.expand(count)
        # the length that the last stretch of the grid ended with, where there was one
        length = history[-1][1] if history else torch.full_like(place, self.first)
        y = x_t / like(t.alpha, x_t)
        before = y
        while bool((live := place > end + 1e-9).any()):
            h = torch.where(live, torch.minimum(length, place - end), 0.0)
            y_1, y_2 = self.attempt(denoise, y, process, place, h, streams, live)
            error = self.error(y_1, y_2, before)
            accept = live & ((error <= 1) | (h <= SHORTEST))
            taken = accept.to(y.device).reshape(-1, *(1,) * (y.ndim - 1))
            before, y = torch.where(taken, y, before), torch.where(taken, y_2, y)
            place = torch.where(accept, place - h, place)
            factor = SAFETY * error.clamp(1e-6, 1e6) ** -POWER
            # a step cut short by the end says nothing about longer ones
            cut = accept & (h < length) & (factor >= SAFETY)
            wanted = torch.where(cut, torch.maximum(length, h * factor), h * factor)
            length = torch.where(live, wanted.clamp(min=SHORTEST), length)
        history[:] = [(s, length)]
        return like(s.alpha, x_t) * y

    def attempt(
        self,
        denoise: Denoise,
        y: Tensor,
        process: Gaussian,
        place: Tensor,
        h: Tensor,
        streams: Streams,
        live: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """y' and y'' of every item."""
        R_t, R_s = (2 * place).exp(), (2 * (place - h)).exp()
        share = (1 + self.eta**2) / 2 * (R_s - R_t)
        # items that have arrived draw nothing, as they would if they were alone
        rows = live.nonzero().flatten().tolist()
        noise = torch.zeros_like(y)
        noise[rows] = streams.select(rows).normal(y[rows])
        noise = noise * like(self.eta * (R_t - R_s).sqrt(), y)
        first = like(share / R_t, y) * (y - denoised(denoise, y, process, place))
        y_1 = y + first + noise
        second = like(share / R_s, y) * (y_1 - denoised(denoise, y_1, process, place - h))
        return y_1, y + (first + second) / 2 + noise

    def error(self, y_1: Tensor, y_2: Tensor, before: Tensor) -> Tensor:
        """e of every item, in float64."""
        allowed = (self.relative * torch.maximum(y_2.abs(), before.abs())).clamp(min=self.absolute)
        square = ((y_2 - y_1) / allowed).abs().square().flatten(1)
        return square.mean(dim=1, dtype=torch.float64).sqrt().cpu()


def denoised(denoise: Denoise, y: Tensor, process: Gaussian, log_ratio: Tensor) -> Tensor:
    """x̂ at y = x/α, every item at its own level."""
    level = process.level(process.schedule.time_of(log_ratio))
    return denoise(like(level.alpha, y) * y, level).mean
