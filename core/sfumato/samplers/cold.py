"""Undoing a degradation that need not be noise (Bansal et al., 2023; Rissanen et al., 2023).

D(x₀, t) makes data worse with t. Given an estimate x̂ of x₀ there are two ways to the next level,

    naive       x_s = D(x̂, s) + δ z                       (ibid., algorithm 1)
    improved    x_s = x_t − D(x̂, t) + D(x̂, s) + δ z        (ibid., algorithm 2)

The second keeps what x̂ gets wrong: where D is linear in t it returns D(x₀, s) exactly, whatever x̂
is. On a linear D = α(t) ⊙ x with noise σ that does not change, it is the reverse kernel with η = 0
(c = 1, k₀ = α_s − α_t). Heat dissipation takes the first with δ a little above the σ that its
states were trained with: δ is what its samples differ in, and without it they collapse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import Level, like
from sfumato.samplers.base import Denoise, Sampler

__all__ = ["Cold"]


@dataclass(frozen=True)
class Cold(Sampler):
    """One evaluation per step; the last returns x̂.

    Args:
        degrade: (x, level) ↦ D(x, t); α(t) ⊙ x if not given.
        rule: ``"improved"`` or ``"naive"``.
        noise: δ, in model units; 0.0125 in Rissanen et al., for σ = 0.01.
    """

    degrade: Callable[[Tensor, Level], Tensor] | None = None
    rule: str = "improved"
    noise: float = 0.0

    def __post_init__(self) -> None:
        if self.rule not in {"improved", "naive"} or not self.noise >= 0:
            raise InvalidOptionError(
                "cold diffusion", f"rule={self.rule!r}, noise={self.noise}",
                "use 'improved' or 'naive', and noise from 0",
            )  # fmt: skip

    @property
    def stochastic(self) -> bool:
        return self.noise > 0

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
        degrade = self.degrade or attenuated
        x_s = degrade(x_hat, s)
        if self.rule == "improved":
            x_s = x_t + (x_s - degrade(x_hat, t))
        return streams.perturb_(x_s, self.noise)


def attenuated(x: Tensor, level: Level) -> Tensor:
    """α(t) ⊙ x."""
    return like(level.alpha, x) * x
