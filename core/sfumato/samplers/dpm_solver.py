"""Exponential multistep methods: DPM-Solver++ 1, 2M, 3M and their SDE forms (Lu et al., 2022).

With λ = ln α/σ, the reverse SDE with stochasticity η is linear but for x̂, and solved exactly by

    x_s = (σ_s/σ_t) e^{−η²h} x_t + α_s ∫₀^h k e^{−k(h−u)} x̂(λ_t + u) du + σ_s √(1 − e^{−2η²h}) z,

with h = λ_s − λ_t and k = 1 + η². A multistep method puts the polynomial through the newest
estimates in place of x̂(λ). In v = u/h, with the steps before h in units of h, r₀ = h₋₁/h and
r₁ = h₋₂/h, Newton's form of it is

    x̂₀ + v [x̂₀, x̂₋₁] + v (v + r₀) [x̂₀, x̂₋₁, x̂₋₂],
    [x̂₀, x̂₋₁] = (x̂₀ − x̂₋₁)/r₀,    [x̂₀, x̂₋₁, x̂₋₂] = ([x̂₀, x̂₋₁] − [x̂₋₁, x̂₋₂])/(r₀ + r₁),

and the powers of v integrate, with H = kh, to

    I₀ = 1 − e^{−H},    I_j = ∫ k e^{−k(h−u)} v^j du = 1 − (j/H) I_{j−1}.

η = 0 is the ODE. The published rules replace some of these weights by others that agree with them
as h → 0: I₁ by I₀/2 in 2M ("midpoint"), and I₂ by I₂/2 in 3M, which costs it its third order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import Level, combine, like
from sfumato.samplers.base import Denoise, Sampler, continues

__all__ = ["DPMSolver"]


@dataclass(frozen=True)
class DPMSolver(Sampler):
    """DPM-Solver++, one evaluation per step.

    The first steps, for lack of history, and the last, to clean data, are of lower order.

    Args:
        order: 1 (DDIM), 2 (2M) or 3 (3M).
        eta: 0 solves the ODE, 1 the reverse SDE (2M SDE, 3M SDE).
        rule: ``"exact"`` integrates the polynomial; ``"published"`` has the weights of Lu et al.
            and of other libraries.
    """

    order: int = 2
    eta: float = 0.0
    rule: str = "exact"

    def __post_init__(self) -> None:
        if self.order not in {1, 2, 3}:
            raise InvalidOptionError("DPM-Solver", f"order={self.order}", "use 1, 2 or 3")
        if not 0 <= self.eta <= 1:
            raise InvalidOptionError("DPM-Solver", f"eta={self.eta}", "use 0 to 1")
        if self.rule not in {"exact", "published"}:
            raise InvalidOptionError(
                "DPM-Solver", f"rule={self.rule!r}", "use 'exact' or 'published'"
            )

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
        x_hat = denoise(x_t, t).mean
        if not continues(history, t, s):
            history.clear()
        history.append((t, x_hat))
        del history[: -self.order]
        if s.clean:
            return x_hat
        h = t.log_ratio - s.log_ratio
        i_0, i_1, i_2 = integrals((1 + self.eta**2) * h)
        integral = like(i_0, x_t) * x_hat
        if len(history) > 1:
            t_1, x_1 = history[-2]
            r_0 = (t_1.log_ratio - t.log_ratio) / h
            slope = (x_hat - x_1) / like(r_0, x_t)
            if len(history) == 2:
                weight = i_1 if self.rule == "exact" else i_0 / 2
                integral += like(weight, x_t) * slope
            else:
                t_2, x_2 = history[-3]
                r_1 = (t_2.log_ratio - t_1.log_ratio) / h
                bend = (slope - (x_1 - x_2) / like(r_1, x_t)) / like(r_0 + r_1, x_t)
                square = i_2 if self.rule == "exact" else i_2 / 2
                integral += like(i_1, x_t) * slope
                integral += like(square + r_0 * i_1, x_t) * bend
        carry = s.sigma / t.sigma * (-(self.eta**2) * h).exp()
        x_s = combine(carry, x_t, s.alpha, integral)
        if self.eta == 0:
            return x_s
        spread = s.sigma * (-torch.expm1(-2 * self.eta**2 * h)).sqrt()
        return streams.perturb_(x_s, like(spread, x_t))


def integrals(H: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """I₀, I₁ and I₂, H negative where noise rises; by series where the recursion would cancel."""
    i_0 = -torch.expm1(-H)
    large = H.abs() > 1e-3
    i_1 = torch.where(large, 1 - i_0 / H, H / 2 - H**2 / 6)
    i_2 = torch.where(large, 1 - 2 * i_1 / H, H / 3 - H**2 / 12)
    return i_0, i_1, i_2
