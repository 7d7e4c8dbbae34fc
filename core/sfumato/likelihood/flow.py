"""−ln p of the probability flow: what an ODE sampler's samples are distributed as.

In y = x/α and ρ = ln σ/α every Gaussian process has the flow (Song et al., 2021, § 4.3)

    dy/dρ = y − x̂(αy, ρ),

along which a density changes by its divergence,

    −ln p(y₀) = −ln p(y₁) − ∫_{ρ₀}^{ρ₁} (n − α tr ∂x̂/∂x_t) dρ,

where y₁ is the process's noise at the scale e^{ρ₁}: N(0, e^{2ρ₁} I), or a t distribution for
PFGM++.

The trace is exact with n backward passes, or estimated without bias with random signs z as
zᵀ (∂x̂/∂x_t) z (Hutchinson). The signs of an item stay the same over the solve: with fresh ones at
every stage the integrand would not be smooth, and the order of the method lost.

p is the density at the process's smallest noise: that of the data, as far as they are smooth on
that scale. Both integrals are solved by the classical Runge–Kutta method, whose order is 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser
from sfumato.errors import InvalidOptionError
from sfumato.likelihood.trials import Bound, require_even
from sfumato.noise import Streams
from sfumato.processes import Level, like

__all__ = ["flow_nats"]

Slopes = tuple[Tensor, Tensor]


def flow_nats(
    denoiser: Denoiser,
    x_0: Float[Tensor, "batch *x"],
    streams: Streams,
    *,
    steps: int = 50,
    probes: int = 0,
    condition: Condition = None,
) -> Bound:
    """−ln p(x₀) in nats, of the density in model units.

    Args:
        denoiser: Differentiable.
        x_0: Data in model units; dequantised, if they were whole numbers.
        streams: One per item, for the probes.
        steps: Runge–Kutta steps, uniform in ln σ/α; four evaluations each.
        probes: Random signs per item, 2 or more; 0 computes the trace exactly, which takes n
            backward passes per evaluation.
        condition: Passed to the denoiser.

    Raises:
        InvalidOptionError: If ``steps`` or ``probes`` are no such numbers.
        UnsupportedError: If elements have levels of their own, or the process is on a manifold.
    """
    if steps < 1 or probes < 0 or probes == 1:
        raise InvalidOptionError(
            "flow_nats", f"steps={steps}, probes={probes}",
            "use 1 or more steps, and no probes (exact) or 2 or more",
        )  # fmt: skip
    process, n = denoiser.process, x_0[0].numel()
    require_even(process, "flow_nats")
    schedule = process.schedule
    low, high = schedule.log_ratio(torch.tensor([schedule.t_min, schedule.t_max]).double()).tolist()
    h = (high - low) / steps
    divergence = hutchinson(signs(x_0.double(), streams, probes)) if probes else exact

    def slopes(y: Tensor, rho: float) -> Slopes:
        t = process.level(schedule.time_of(torch.tensor(rho)).clamp(max=schedule.t_max))
        mean, trace = divergence(lambda x: denoiser(x, t, condition).mean, y, t)
        return y - mean, n - trace

    y = x_0.double()
    gained = y.new_zeros(max(probes, 1), len(y))
    for index in range(steps):
        y, change = runge_kutta(slopes, y, low + index * h, h)
        gained = gained + change
    last = y.flatten(1).square().sum(dim=1)
    nats = -process.log_noise(last, torch.tensor(math.exp(high)), n) - gained
    if probes < 2:
        return Bound(nats[0], torch.zeros_like(nats[0]))
    return Bound(nats.mean(dim=0), nats.std(dim=0) / math.sqrt(probes))


def runge_kutta(
    slopes: Callable[[Tensor, float], Slopes], y: Tensor, rho: float, h: float
) -> Slopes:
    """y after one step of length h, and the integral of the divergence over it."""
    d_1, w_1 = slopes(y, rho)
    d_2, w_2 = slopes(y + h / 2 * d_1, rho + h / 2)
    d_3, w_3 = slopes(y + h / 2 * d_2, rho + h / 2)
    d_4, w_4 = slopes(y + h * d_3, rho + h)
    y = y + h / 6 * (d_1 + 2 * d_2 + 2 * d_3 + d_4)
    return y, h / 6 * (w_1 + 2 * w_2 + 2 * w_3 + w_4)


def signs(x: Tensor, streams: Streams, probes: int) -> Float[Tensor, "probes batch *x"]:
    """−1 or +1 for each element."""
    draws = [torch.where(streams.uniform(x) < 0.5, -1.0, 1.0).to(x) for _ in range(probes)]
    return torch.stack(draws)


def hutchinson(z: Float[Tensor, "probes batch *x"]) -> Callable[..., Slopes]:
    """x̂, and zᵀ (∂x̂/∂y) z of every probe, ``[probes, batch]``."""

    def estimated(denoise: Callable[[Tensor], Tensor], y: Tensor, t: Level) -> Slopes:
        mean, pull = pullback(denoise, y, t)
        traces = [(row * pull(row)).flatten(1).sum(dim=1) for row in z]
        return mean.detach(), torch.stack(traces)

    return estimated


def exact(denoise: Callable[[Tensor], Tensor], y: Tensor, t: Level) -> Slopes:
    """x̂, and the trace of ∂x̂/∂y, ``[1, batch]``."""
    mean, pull = pullback(denoise, y, t)
    trace = y.new_zeros(len(y))
    for element in range(y[0].numel()):
        one = torch.zeros_like(y)
        one.flatten(1)[:, element] = 1
        trace += pull(one).flatten(1)[:, element]
    return mean.detach(), trace[None]


def pullback(
    denoise: Callable[[Tensor], Tensor], y: Tensor, t: Level
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """x̂(αy), and v ↦ (∂x̂/∂y)ᵀ v."""
    with torch.enable_grad():
        inside = y.detach().requires_grad_()
        mean = denoise(like(t.alpha, y) * inside)

    def pull(v: Tensor) -> Tensor:
        return torch.autograd.grad(mean, inside, v, retain_graph=True)[0]

    return mean, pull
