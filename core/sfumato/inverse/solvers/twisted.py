"""Twisted diffusion sampling (TDS; Wu et al., 2023): particles that correct any guide.

A guide proposes x_s ~ q(x_s | x_t, y) with its approximate mean μ. What the proposal gets wrong is
put right by weights. With a twist l_t(x_t) ≈ p(y | x_t) that is the likelihood itself at t = 0,

    w_s = p(x_s | x_t) l_s(x_s) / (q(x_s | x_t) l_t(x_t))

has the posterior of the prior's own chain as its target whatever μ and l are, and the weighted
particles reach it as their number grows (ibid., theorem 1). Particles are resampled where their
effective number falls below half of them; the product of mean weights estimates the evidence p(y).

The prior's chain is the calibrated one: p(x_s | x_t) = N(k₀ x̂ + c x_t, λ² + k₀² v), with v the
variance of x₀ given x_t. The twist is l_t = N(y; A x̂, Σ + A V A*) with V the diagonal of v,
averaged over an item's particles so that the normaliser is common to them.

One independent set of particles per item; every item draws from its own stream.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser, Estimate
from sfumato.errors import InvalidOptionError
from sfumato.inverse.capabilities import data_spread, require
from sfumato.inverse.conditioning import isotropic
from sfumato.inverse.guides import PiGDM
from sfumato.inverse.problems import Callback, Guide, Problem, Solver
from sfumato.linalg import dot
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level, like
from sfumato.processes.grids import log_snr
from sfumato.samplers.base import Step, weights

__all__ = ["Particles", "TwistedSMC"]


@dataclass(frozen=True, eq=False)
class Particles:
    """Weighted samples of each item.

    Args:
        x: ``[items, particles, *x]``.
        log_weights: ln of the normalised weights, ``[items, particles]``.
        log_evidence: Estimate of ln p(y) of each item, in units of the likelihood's ``log_prob``.
        effective: Smallest effective number of particles that each item had on its way.
    """

    x: Float[Tensor, "items particles *x"]
    log_weights: Float[Tensor, "items particles"]
    log_evidence: Float[Tensor, " items"]
    effective: Float[Tensor, " items"]


@dataclass(frozen=True)
class TwistedSMC(Solver):
    """Sequential Monte Carlo around a guide.

    Args:
        particles: Particles per item, 2 or more. Cost grows with it, bias falls with it.
        guide: What proposes.
        steps: Steps of the grid, uniform in log-SNR.
        start: Noise-to-signal ratio to start at, in standard deviations of the data.
        end: Last ratio before 0, in standard deviations of the data, or that of the measurement's
            noise if it is smaller. Steps spent outside these bounds would decide nothing.
        threshold: Share of effective particles below which an item resamples.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"linear", "gaussian", "noisy"})

    particles: int = 32
    guide: Guide = field(default_factory=PiGDM)
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
        share = cloud.log_weights.exp()
        place = streams.uniform(share[:, :1])
        chosen = (share.cumsum(dim=1) <= place).sum(dim=1).clamp(max=self.particles - 1)
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
        name, needs = type(self).__name__, self.needs | self.guide.needs
        require(name, needs, problem.operator, problem.denoiser)
        with torch.no_grad():
            return self.walk(problem, streams, callback)

    def walk(self, problem: Problem, streams: Streams, callback: Callback | None) -> Particles:
        items, count = problem.y.shape[0], self.particles
        memory = Remembering(problem.denoiser)
        many = replace(problem, denoiser=memory).select(
            [item for item in range(items) for _ in range(count)]
        )
        process = problem.denoiser.process
        levels = process.levels(self.grid(problem))
        blank = many.blank()

        def noise() -> Tensor:
            return streams.normal(blank.reshape(items, count, *blank.shape[1:])).flatten(0, 1)

        x = like(levels[0].sigma, blank) * noise()
        pending = torch.zeros(items, count, dtype=torch.float64, device=blank.device)
        log_w = pending - math.log(count)
        evidence, fewest = pending.sum(dim=1), pending.sum(dim=1) + count
        # pending: ln p/q of the step that led here, less the twist it started from
        for index, (t, s) in enumerate(itertools.pairwise(levels)):
            mean = self.guide(many, x, t).mean
            estimate = memory.latest
            twist = self.twist(many, estimate, t, count)
            log_w = log_w + pending + twist
            log_w, evidence, fewest, order = self.reweigh(log_w, evidence, fewest, streams)
            x, mean, x_hat = x[order], mean[order], estimate.mean[order]
            twist = twist.flatten()[order].reshape(items, count)
            keep, carry, variance = weights(t, s, 1.0)
            spread = spread_of(many, estimate, t)
            spread = spread[order] if spread.shape[:1] == x.shape[:1] else spread
            total = like(variance, x) + like(keep, x) ** 2 * spread
            shift = like(keep, x) * (mean - x_hat)
            step = total.sqrt() * noise()
            x = like(keep, x) * mean + like(carry, x) * x + step
            # ln p/q: both have variance ``total``; p's mean lies ``shift`` below q's
            ratio = -(dot(shift / total.sqrt(), shift / total.sqrt()) / 2)
            ratio = ratio - dot(step / total.sqrt(), shift / total.sqrt())
            pending = ratio.reshape(items, count) - twist
            if callback is not None:
                callback(Step(index, len(levels) - 1, s, x, Estimate(mean)))
        final = problem.operator.likelihood.log_prob(many.y, many.operator(x)).reshape(items, count)
        log_w = log_w + pending + final
        log_w, evidence, fewest, _ = self.reweigh(log_w, evidence, fewest, None)
        return Particles(x.reshape(items, count, *x.shape[1:]), log_w, evidence, fewest)

    def grid(self, problem: Problem) -> Tensor:
        """Times from ``start`` to ``end``, within the process, then 0."""
        process, spread = problem.denoiser.process, data_spread(problem.denoiser, problem.blank())
        schedule = process.schedule
        ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
        low, high = schedule.log_ratio(ends).exp().tolist()
        end = min(self.end * spread, float(problem.noise.min().sqrt()))
        start = min(max(self.start * spread, low), high)
        return log_snr(process, self.steps, start=start, end=min(max(end, low), start))

    def twist(self, problem: Problem, estimate: Estimate, t: Level, count: int) -> Tensor:
        """ln l_t, ``[items, particles]``."""
        operator = problem.linear
        variance = spread_of(problem, estimate, t)
        if variance.ndim > 0:
            apart = variance.reshape(-1, count, *variance.shape[1:])
            variance = apart.mean(dim=1, keepdim=True).expand_as(apart).flatten(0, 1)
        residual = problem.residual(operator(estimate.mean))
        value = dot(residual, operator.solve(residual, variance, problem.noise))
        return (-value if residual.is_complex() else -value / 2).reshape(-1, count)

    def reweigh(
        self, log_w: Tensor, evidence: Tensor, fewest: Tensor, streams: Streams | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised weights, ln evidence, smallest effective number, and who goes on.

        Without ``streams`` nobody is resampled.
        """
        items, count = log_w.shape
        log_w = torch.where(torch.isfinite(log_w), log_w, -torch.inf)
        mass = log_w.logsumexp(dim=1)
        # the weights that came in sum to 1, so the sum that leaves is the mean new weight
        start = torch.isfinite(mass)
        log_w = torch.where(start[:, None], log_w - mass[:, None], -math.log(count))
        share = log_w.exp()
        effective = 1 / (share**2).sum(dim=1)
        order = torch.arange(count, device=log_w.device).expand(items, count)
        if streams is not None:
            place = torch.arange(count, device=log_w.device) + streams.uniform(share[:, :1])
            ends = share.cumsum(dim=1)
            drawn = torch.searchsorted(ends / ends[:, -1:], place / count).clamp(max=count - 1)
            poor = (effective < self.threshold * count)[:, None]
            order = torch.where(poor, drawn, order)
            log_w = torch.where(poor, -math.log(count), log_w)
        flat = order + count * torch.arange(items, device=log_w.device)[:, None]
        return log_w, evidence + mass, torch.minimum(fewest, effective), flat.flatten()


class Remembering(Denoiser):
    """A denoiser that keeps its latest estimate, so that a guide's evaluation serves twice."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner = inner
        self.latest = Estimate(torch.empty(0))

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.inner.process

    @property
    def knows_covariance(self) -> bool:
        return bool(getattr(self.inner, "knows_covariance", False))

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        estimate = self.inner(x_t, t, condition)
        self.latest = replace(estimate, mean=estimate.mean.detach())
        return estimate


def spread_of(problem: Problem, estimate: Estimate, t: Level) -> Tensor:
    """Variance of x₀ given x_t, per element where the denoiser reports it."""
    if estimate.variance is None:
        return isotropic(problem, estimate, t)
    variance = estimate.variance.detach().expand_as(estimate.mean)
    return variance.clamp(min=torch.finfo(variance.dtype).tiny)
