"""Twisted diffusion sampling (TDS; Wu et al., 2023): particles that correct a Gaussian guess.

Given x_t, x₀ is taken to be N(x̂, V). All else follows: the prior's step to a cleaner level s,

    p(x_s | x_t) = N(k₀ x̂ + c x_t, λ² + k₀² V),

what is expected of y given x_t, which is the twist l_t(x_t) = N(y; A x̂, A V A* + Σ), and given x_s
too, N(y; A m, A W A* + Σ) with m and W = λ²V(λ² + k₀²V)⁻¹ the moments of x₀ given x_s and x_t. The
proposal is the step given y, so that after it a particle weighs

    l_s(x_s) / N(y; A m, A W A* + Σ):

what the network now says of y, over what was expected of it. Where the prior is Gaussian and V its
covariance, this is 1 (a fully adapted filter; Pitt & Shephard, 1999). Otherwise weighted particles
reach the posterior of the chain as their number grows (Wu et al., theorem 1). They are resampled
(systematically) where their effective number falls below half of them; the product of mean weights
estimates the evidence p(y).

The chain is as good as V. One backward pass gives one product, in the direction u in which y pulls;
V is this product and v I elsewhere (``Secant``), v being the denoiser's own variance, or uᵀVu/uᵀu,
averaged over an item's particles.

One independent set of particles per item; every item draws from its own stream.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import Estimate, tweedie
from sfumato.errors import InvalidOptionError
from sfumato.inverse.capabilities import data_spread, require
from sfumato.inverse.conditioning import isotropic
from sfumato.inverse.particles import pick, reweigh
from sfumato.inverse.problems import Callback, Problem, Solver
from sfumato.inverse.solvers.secant import Secant, Seen, knows_volume
from sfumato.linalg import dot
from sfumato.noise import Streams
from sfumato.processes import Level, like
from sfumato.processes.grids import log_snr
from sfumato.samplers.base import Step, weights

__all__ = ["Particles", "TwistedSMC"]


@dataclass(frozen=True, eq=False)
class Particles:
    """Weighted samples of each item.

    Args:
        x: ``[items, particles, *x]``.
        log_weights: ln of the normalised weights, ``[items, particles]``.
        log_evidence: Estimate of ln p(y) of each item, in units of the likelihood's ``log_prob``;
            NaN where the operator has no spectrum or its noise is not of one strength.
        effective: Smallest effective number of particles that each item had on its way.
    """

    x: Float[Tensor, "items particles *x"]
    log_weights: Float[Tensor, "items particles"]
    log_evidence: Float[Tensor, " items"]
    effective: Float[Tensor, " items"]


@dataclass(frozen=True)
class TwistedSMC(Solver):
    """Sequential Monte Carlo around a Gaussian guess.

    Args:
        particles: Particles per item, 2 or more. Cost grows with it, bias falls with it.
        steps: Steps of the grid, uniform in log-SNR.
        start: Noise-to-signal ratio to start at, in standard deviations of the data.
        end: Last ratio before 0, in standard deviations of the data, or that of the measurement's
            noise if it is smaller. Steps spent outside these bounds would decide nothing.
        threshold: Share of effective particles below which an item resamples.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"linear", "gaussian", "noisy"})

    particles: int = 32
    steps: int = 20
    start: float = 20.0
    end: float = 0.05
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if self.particles < 2 or not 0 < self.threshold <= 1:
            raise InvalidOptionError(
                "TwistedSMC", f"particles={self.particles}, threshold={self.threshold}",
                "use 2 or more particles and a threshold above 0, up to 1",
            )  # fmt: skip

    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Tensor:
        cloud = self.cloud(problem, streams, callback=callback)
        chosen = pick(cloud.log_weights, streams)
        return cloud.x[torch.arange(len(chosen), device=chosen.device), chosen]

    def cloud(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Particles:
        """The weighted particles of each item, with the evidence.

        Args:
            problem: Denoiser, operator, measurement.
            streams: One stream per item.
            callback: Called after every step, with the particles as the batch.
        """
        require(type(self).__name__, self.needs, problem.operator, problem.denoiser)
        with torch.no_grad():
            return self.walk(problem, streams, callback)

    def walk(self, problem: Problem, streams: Streams, callback: Callback | None) -> Particles:
        items, count = problem.y.shape[0], self.particles
        many = problem.select([item for item in range(items) for _ in range(count)])
        levels = problem.denoiser.process.levels(self.grid(problem))
        blank = many.blank()

        def noise(like_many: Tensor) -> Tensor:
            apart = like_many.reshape(items, count, *like_many.shape[1:])
            return streams.normal(apart).flatten(0, 1)

        x = like(levels[0].sigma, blank) * noise(blank)
        pending = torch.zeros(items, count, dtype=torch.float64, device=blank.device)
        log_w = pending - math.log(count)
        evidence, fewest = pending.sum(dim=1), pending.sum(dim=1) + count
        for index, (t, s) in enumerate(itertools.pairwise(levels)):
            x_hat, covariance = self.guess(many, x, t)
            twist = Seen(many, covariance).log_prob(x_hat).reshape(items, count)
            log_w, evidence, fewest, order = reweigh(
                log_w + twist - pending, evidence, fewest, self.threshold, streams
            )
            x, x_hat, covariance = x[order], x_hat[order], covariance.select(order)
            x, mean, spread = advance(many, x, x_hat, covariance, t, s, noise)
            pending = Seen(many, spread).log_prob(mean).reshape(items, count)
            if callback is not None:
                callback(Step(index, len(levels) - 1, s, x, Estimate(x_hat)))
        final = problem.operator.likelihood.log_prob(many.y, many.operator(x)).reshape(items, count)
        log_w, evidence, fewest, _ = reweigh(
            log_w + final - pending, evidence, fewest, self.threshold, None
        )
        if not knows_volume(problem):
            evidence = torch.full_like(evidence, torch.nan)
        return Particles(x.reshape(items, count, *x.shape[1:]), log_w, evidence, fewest)

    def guess(self, problem: Problem, x_t: Tensor, t: Level) -> tuple[Tensor, Secant]:
        """x̂ and V of every particle."""
        operator, count = problem.linear, self.particles

        def pooled(value: Tensor) -> Tensor:
            """Mean over the particles of an item."""
            mean = value.reshape(-1, count).mean(dim=1, keepdim=True)
            return mean.expand(-1, count).flatten()

        estimate, product = tweedie(problem.denoiser, x_t, t, problem.condition)
        x_hat = estimate.mean
        wide = isotropic(problem, estimate, t).double().to(x_t.device).flatten().expand(len(x_t))
        first = wide.to(problem.noise).reshape(-1, *(1,) * (x_t.ndim - 1))
        residual = problem.residual(operator(x_hat))
        u = operator.adjoint(operator.solve(residual, first, problem.noise))
        g = product(u)
        if estimate.variance is not None:
            return x_hat, Secant.fit(u, g, pooled(wide))
        size, along = pooled(dot(u, u)), pooled(dot(u, g).nan_to_num(0).clamp(min=0))
        known = (along > 0) & (size > 0)
        base = torch.where(known, along / size.where(known, 1.0), wide)
        return x_hat, Secant.fit(u, g, base)

    def grid(self, problem: Problem) -> Tensor:
        """Times from ``start`` to ``end``, within the process, then 0."""
        process, spread = problem.denoiser.process, data_spread(problem.denoiser, problem.blank())
        schedule = process.schedule
        ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
        low, high = schedule.log_ratio(ends).exp().tolist()
        end = min(self.end * spread, float(problem.noise.min().sqrt()))
        start = min(max(self.start * spread, low), high)
        return log_snr(process, self.steps, start=start, end=min(max(end, low), start))


def advance(
    problem: Problem,
    x_t: Tensor,
    x_hat: Tensor,
    covariance: Secant,
    t: Level,
    s: Level,
    noise: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor, Secant]:
    """A draw of x_s given x_t and y; the mean and the covariance of x₀ given x_s and x_t."""
    operator = problem.linear
    keep, carry, variance = weights(t, s, 1.0)
    k, lam = float(keep), float(variance)
    ahead = covariance.map(lambda v: lam + k**2 * v)
    # x_s and x₀ drawn together without y, and then both moved towards it
    step = ahead.map(torch.sqrt)(noise(x_t))
    gain = covariance.map(lambda v: k * v / (lam + k**2 * v).clamp(min=TINY))
    rest = covariance.map(lambda v: lam * v / (lam + k**2 * v).clamp(min=TINY))
    x_0 = x_hat + gain(step) + rest.map(torch.sqrt)(noise(x_t))
    error = problem.noise.sqrt() * noise(problem.y)
    pull = Seen(problem, covariance).solve(problem.residual(operator(x_0) - error))
    step = step + like(keep, x_t) * covariance(operator.adjoint(pull))
    x_s = like(keep, x_t) * x_hat + like(carry, x_t) * x_t + step
    return x_s, x_hat + gain(step), rest


TINY = 1e-300
