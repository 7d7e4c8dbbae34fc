"""The momentum sampler of soft diffusion, for any linear corruption (Daras et al., 2022).

The state x_t = C_t x₀ + σ_t ε loses signal in C_t and gains noise in σ_t. Of the processes with
these marginals one moves the signal by itself and the noise by itself; backwards it is

    dx = Ċ_t x̂ dt − (σ_t²)' ∇ln p_t dt + √(σ_t²)' dw̄,    ∇ln p_t = (C_t x̂ − x)/σ_t²,

and its Euler–Maruyama step, with the change of C taken exactly, is the momentum sampler

    x_s = x_t + (C_s x̂ − C_t x̂) + (1 − σ_s²/σ_t²)(C_t x̂ − x_t) + √(σ_t² − σ_s²) z.

Where σ does not change it is the improved rule of cold diffusion, where C does not change the
Euler–Maruyama step for exploding noise. The naive sampler C_s x̂ + σ_s z forgets at every step what
it has found, and no number of steps mends that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from sfumato.noise import Streams
from sfumato.processes import Level, combine, like
from sfumato.samplers.base import Denoise, Sampler, root
from sfumato.samplers.cold import attenuated

__all__ = ["Momentum"]


@dataclass(frozen=True)
class Momentum(Sampler):
    """Weak order 1, one evaluation per step; the last returns x̂.

    Args:
        corrupt: (x, level) ↦ C_t x; α(t) ⊙ x if not given.
    """

    corrupt: Callable[[Tensor, Level], Tensor] | None = None

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
        corrupt = self.corrupt or attenuated
        kept = s.sigma**2 / t.sigma**2
        x_s = combine(kept, x_t - corrupt(x_hat, t), 1.0, corrupt(x_hat, s))
        return streams.perturb_(x_s, like(root(t.sigma**2 - s.sigma**2), x_t))
