"""The variational bound on −ln p for Gaussian processes, step by step and in continuous time.

For the chain of K steps of a sampler with reverse variances v (Ho, Jain & Abbeel, 2020, eq. 5)

    −ln p(x₀) ≤ KL(q(x_T | x₀) ‖ p(x_T)) + Σ KL(q(x_s | x_t, x₀) ‖ p(x_s | x_t)) − E ln p(x₀ | x_ε),

the first part is α_T² ‖x₀‖²/(2σ_T²), and those of the sum are in ``sfumato.samplers.variances``. As
steps get shorter, β̃/v → 1 and the sum becomes an integral over ρ = ln σ/α that no schedule but
its ends can change (Kingma et al., 2021, eq. 18; theirs is −2ρ):

    ∫ (α/σ)² E‖x₀ − x̂‖² dρ.

The last part is a decoder's. Of a density it is N(x_ε/α, (σ/α)²), whose mean cost is exactly
(n/2) ln(2πe σ²/α²). Others are in ``sfumato.likelihood.decoders``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser, Estimate
from sfumato.errors import InvalidOptionError, UnknownNameError, UnsupportedError
from sfumato.likelihood.trials import (
    Bound,
    Budget,
    Piece,
    chosen,
    pieces,
    require_even,
    stratified,
)
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level, Number, like
from sfumato.samplers.base import bridge_variance
from sfumato.samplers.variances import (
    forward_variance,
    interpolated_variance,
    kernel_kl,
    widened_variance,
)

__all__ = [
    "VARIANCES",
    "Decoder",
    "diffusion_term",
    "gaussian_bound",
    "log_ratio_term",
    "step_nats",
]

Spread = Callable[[Level], Number]


@runtime_checkable
class Decoder(Protocol):
    """p(x₀ | x_ε)."""

    def __call__(self, x_0: Tensor, x_t: Tensor, t: Level) -> Float[Tensor, " batch"]:
        """−ln p(x₀ | x_t) of each item."""
        ...


def small(estimate: Estimate, t: Level, s: Level, x: Tensor) -> Tensor:
    return bridge_variance(t, s)


def large(estimate: Estimate, t: Level, s: Level, x: Tensor) -> Tensor:
    return forward_variance(t, s)


def learned(estimate: Estimate, t: Level, s: Level, x: Tensor) -> Tensor:
    if estimate.interpolation is None:
        raise UnsupportedError(
            "the bound with learned variance", "a network with a variance head",
            "this one predicts a mean only", ["variance='large'"],
        )  # fmt: skip
    return interpolated_variance(estimate.interpolation.to(x), t, s)


def calibrated(estimate: Estimate, t: Level, s: Level, x: Tensor) -> Tensor:
    if estimate.variance is None:
        raise UnsupportedError(
            "the bound with calibrated variance", "a denoiser that knows its spread",
            "this one returns a mean only", ["variance='large'", "WithVariance(denoiser)"],
        )  # fmt: skip
    return widened_variance(t, s, estimate.variance, x)


VARIANCES: dict[str, Callable[[Estimate, Level, Level, Tensor], Tensor]] = {
    "small": small,
    "large": large,
    "learned": learned,
    "calibrated": calibrated,
}


def gaussian_bound(
    denoiser: Denoiser,
    x_0: Float[Tensor, "batch *x"],
    streams: Streams,
    *,
    grid: Tensor | None = None,
    variance: str | Spread = "large",
    decoder: Decoder | None = None,
    by_time: bool = False,
    condition: Condition = None,
    budget: Budget | None = None,
) -> Bound:
    """An estimate of the bound for each item, in nats.

    Args:
        denoiser: Of a Gaussian process.
        x_0: Data in model units.
        streams: One per item.
        grid: Decreasing times that end in 0, as samplers take it; continuous time if not given.
        variance: v of a step: ``"small"`` is β̃, ``"large"`` β, ``"learned"`` and ``"calibrated"``
            are what the denoiser says; or C(t), the variance of x₀ given x_t, as a function.
        decoder: p(x₀ | x_ε) at the last level before data; of a density if not given.
        by_time: In continuous time, draw t uniformly and not ρ; costs the same in the mean.
        condition: Passed to the denoiser.
        budget: Draws per item.

    Raises:
        UnknownNameError: If there is no variance of that name.
        UnsupportedError: If the denoiser does not know the variance asked for, or the process is
            not Gaussian, or has uneven levels and no grid is given.
        InvalidOptionError: If the grid does not end in 0.
    """
    if isinstance(variance, str) and variance not in VARIANCES:
        raise UnknownNameError("variance", variance, VARIANCES)
    if grid is not None and (len(grid) < 2 or float(grid[-1]) != 0):
        raise InvalidOptionError("gaussian_bound", "a grid without 0", "give times that end in 0")
    process, schedule = denoiser.process, denoiser.process.schedule
    if not process.normal:
        raise UnsupportedError(
            "gaussian_bound", "steps with Gaussian noise", f"{type(process).__name__} has other",
            ["flow_nats"],
        )  # fmt: skip
    if grid is None:
        require_even(process, "gaussian_bound in continuous time")
    ends = (schedule.t_max, schedule.t_min) if grid is None else (grid[0], grid[-2])
    top, bottom = (process.level(torch.as_tensor(t).double()) for t in ends)
    budget = budget or Budget()
    found = []
    with torch.no_grad():
        for piece in pieces(x_0, streams, budget):
            given = chosen(condition, piece.item, len(x_0))
            x = x_0[piece.item]

            def believe(x_t: Tensor, t: Level, given: Condition = given) -> Estimate:
                return denoiser(x_t, t, given)

            if grid is None:
                nats = integrand(process, x, piece, believe, by_time)
            else:
                nats = one_step(process, x, piece, believe, grid, variance)
            if decoder is not None:
                x_t = process.corrupt(x, bottom, piece.streams.normal(x))
                nats = nats + decoder(x, x_t, bottom)
            found.append(nats)
    bound = stratified(torch.cat(found).double().reshape(len(x_0), budget.draws))
    x = x_0.double()
    if decoder is None:
        width = math.log(math.tau * math.e) / 2 + like(bottom.log_ratio, x)
        bound += (width + torch.zeros_like(x)).flatten(1).sum(dim=1)
    return bound + (x.square() / (2 * like(top.ratio, x) ** 2)).flatten(1).sum(dim=1)


def integrand(
    process: Gaussian,
    x_0: Tensor,
    piece: Piece,
    believe: Callable[[Tensor, Level], Estimate],
    by_time: bool,
) -> Tensor:
    """(α/σ)² ‖x₀ − x̂‖² at a drawn level, over its density in ρ."""
    schedule, u = process.schedule, piece.u.cpu()
    if by_time:
        time = schedule.t_min + u * (schedule.t_max - schedule.t_min)
        return density_by_time(process, x_0, time, piece.streams.normal(x_0), believe)
    return log_ratio_term(process, x_0, u, piece.streams.normal(x_0), believe)


def log_ratio_term(
    process: Gaussian,
    x_0: Float[Tensor, "batch *x"],
    u: Float[Tensor, " batch"],
    noise: Float[Tensor, "batch *x"],
    believe: Callable[[Tensor, Level], Estimate],
) -> Float[Tensor, " batch"]:
    """(ρ₁ − ρ₀) (α/σ)² ‖x₀ − x̂‖² at ρ = ρ₀ + u (ρ₁ − ρ₀); differentiable in x₀."""
    schedule = process.schedule
    low, high = schedule.log_ratio(torch.tensor([schedule.t_min, schedule.t_max]).double())
    length: Tensor = (high - low).expand(u.shape)
    t = process.level(schedule.time_of(low + u * (high - low)).clamp(max=schedule.t_max))
    x_t = process.corrupt(x_0, t, noise)
    error: Tensor = (x_0 - believe(x_t, t).mean).double().flatten(1).square().sum(dim=1)
    return (length / t.ratio**2).to(error) * error


def diffusion_term(
    denoiser: Denoiser,
    x_0: Float[Tensor, "batch *x"],
    t: Float[Tensor, " batch"],
    noise: Float[Tensor, "batch *x"],
) -> Float[Tensor, " batch"]:
    """ρ'(t) (α/σ)² ‖x₀ − x̂‖² over the density of times drawn uniformly.

    Differentiable in the parameters of the schedule, where it has any.
    """
    return density_by_time(denoiser.process, x_0, t, noise, denoiser)


def density_by_time(
    process: Gaussian,
    x_0: Tensor,
    t: Tensor,
    noise: Tensor,
    believe: Callable[[Tensor, Level], Estimate],
) -> Tensor:
    schedule, graph = process.schedule, torch.is_grad_enabled()
    with torch.enable_grad():
        time = t.detach().requires_grad_()
        rising = schedule.log_ratio(time).sum()
        (slope,) = torch.autograd.grad(rising, time, create_graph=graph)
    level = process.level(t)
    x_t = process.corrupt(x_0, level, noise)
    error = (x_0 - believe(x_t, level).mean).double().flatten(1).square().sum(dim=1)
    length: Tensor = slope * (schedule.t_max - schedule.t_min)
    return (length / level.ratio**2).to(error) * error


def one_step(
    process: Gaussian,
    x_0: Tensor,
    piece: Piece,
    believe: Callable[[Tensor, Level], Estimate],
    grid: Tensor,
    variance: str | Spread,
) -> Tensor:
    """The cost of a drawn step, over its chance; the last, to data, is the decoder's."""
    steps = len(grid) - 2
    if steps == 0:
        return torch.zeros(len(x_0), dtype=torch.float64, device=x_0.device)
    k = (piece.u.cpu() * steps).floor().long().clamp(max=steps - 1)
    t, s = process.level(grid[k]), process.level(grid[k + 1])
    x_t = process.corrupt(x_0, t, piece.streams.normal(x_0))
    return steps * step_nats(believe(x_t, t), x_0, t, s, variance)


def step_nats(
    estimate: Estimate, x_0: Tensor, t: Level, s: Level, variance: str | Spread = "large"
) -> Float[Tensor, " batch"]:
    """KL(q(x_s | x_t, x₀) ‖ p(x_s | x_t)) of each item, float64.

    Args:
        estimate: What is believed about x₀ at x_t.
        x_0: Data.
        t: Level of x_t.
        s: A cleaner one, not clean.
        variance: As in ``gaussian_bound``.
    """
    x = x_0.double()
    if isinstance(variance, str):
        v = VARIANCES[variance](estimate, t, s, x)
    else:
        v = widened_variance(t, s, torch.as_tensor(variance(t), dtype=torch.float64), x)
    return kernel_kl(t, s, (x - estimate.mean.double()).square(), v).flatten(1).sum(dim=1)
