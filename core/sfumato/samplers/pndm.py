"""PNDM: pseudo numerical methods (Liu, Ren, Lin & Zhao, 2022).

A numerical method combines several ε̂ into one; the *transfer* to another level is DDIM's step with
that one. Adams–Bashforth weights, (55, −59, 37, −9)/24 for four of them, need three steps of
history. PNDM makes it with pseudo Runge–Kutta steps,

    e₁ = ε̂(x_t, t),  e₂ = ε̂(φ(x_t, e₁, t, m), m),  e₃ = ε̂(φ(x_t, e₂, t, m), m),
    e₄ = ε̂(φ(x_t, e₃, t, s), s),    e = (e₁ + 2e₂ + 2e₃ + e₄)/6,

with m halfway between t and s in time; iPNDM starts at lower order instead, which is
``Exponential(4, "eps", "index")``. Made for grids uniform in time: the weights are those of equal
steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import Level
from sfumato.samplers.base import Denoise, Sampler, continues, kernel
from sfumato.samplers.exponential import Exponential
from sfumato.samplers.exponentials import Form

__all__ = ["PNDM"]

EPS = Form("eps")


@dataclass(frozen=True)
class PNDM(Sampler):
    """Linear multistep with a Runge–Kutta start: F-PNDM (order 4) and S-PNDM (order 2).

    Args:
        order: 4 starts with three steps of four evaluations, 2 with one of two.
    """

    order: int = 4
    multistep: Exponential = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.order not in {2, 4}:
            raise InvalidOptionError("PNDM", f"order={self.order}", "use 2 or 4")
        object.__setattr__(self, "multistep", Exponential(self.order, "eps", "index"))

    def calls(self, steps: int) -> int:
        return steps + min(steps, self.order - 1) * (self.order - 1)

    def step(
        self,
        denoise: Denoise,
        x_t: Tensor,
        t: Level,
        s: Level,
        streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:
        if not continues(history, t, s):
            history.clear()
        if s.clean or len(history) >= self.order - 1:
            return self.multistep.step(denoise, x_t, t, s, streams, history)

        def eps(x: Tensor, level: Level) -> Tensor:
            return EPS.value(denoise(x, level), x, level)

        first = eps(x_t, t)
        history.append((t, first))
        if self.order == 2:
            last = eps(transfer(x_t, first, t, s), s)
            return transfer(x_t, (first + last) / 2, t, s)
        middle = halfway(t, s)
        second = eps(transfer(x_t, first, t, middle), middle)
        third = eps(transfer(x_t, second, t, middle), middle)
        last = eps(transfer(x_t, third, t, s), s)
        return transfer(x_t, (first + 2 * second + 2 * third + last) / 6, t, s)


def transfer(x_t: Tensor, eps: Tensor, t: Level, s: Level) -> Tensor:
    """φ: DDIM's step with a given ε̂ (ibid., eq. 11)."""
    return kernel(EPS.clean(eps, x_t, t), x_t, t, s, Streams(0, []), eta=0.0)


def halfway(t: Level, s: Level) -> Level:
    """The level halfway in time."""
    if t.process is None:
        raise UnsupportedError(
            "PNDM", "levels of a process", "these belong to none", ["dpm-solver", "ipndm"]
        )
    return t.process.level((t.t + s.t) / 2)
