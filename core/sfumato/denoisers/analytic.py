"""The variance of x₀ given x_t, as one number per level, measured on data (Analytic-DPM).

The best variance of a reverse kernel whose mean is a given network's is a mean over the data (Bao,
Li, Zhu & Zhang, 2022, theorem 1). With ε̂ = (x_t − α x̂)/σ and d elements,

    C(t) = (σ²/α²)(1 − Γ(t)),    Γ(t) = E‖ε̂(x_t, t)‖²/d        from the mean square score,
    C(t) = E‖x₀ − x̂(x_t, t)‖²/d                                 from the error itself.

They agree for the exact denoiser; the second is right for an imperfect network too. Either enters
the kernel as the spread of x₀: ``DDPM("calibrated")``, ``DDIM(eta, calibrated=True)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Denoiser, Estimate
from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level, combine, log_snr

__all__ = ["AnalyticVariance", "mean_square_errors", "mean_square_noise"]


def mean_square_errors(
    denoiser: Denoiser,
    data: Float[Tensor, "n *x"],
    times: Tensor,
    streams: Streams,
    *,
    condition: Condition = None,
) -> Tensor:
    """E‖x₀ − x̂‖²/d at each time, float64, on the CPU.

    All levels see the same noise, scaled to the mean square that it should have: what chance there
    is is common to all, so that no level looks better than its neighbours by luck.

    Args:
        denoiser: In model units.
        data: Clean data in model units.
        times: Times above 0.
        streams: One per item of ``data``.
        condition: Passed to the denoiser.
    """
    found, noise = [], balanced(streams, data)
    with torch.no_grad():
        for level in denoiser.process.levels(times):
            x_t = denoiser.process.corrupt(data, level, noise)
            gap = denoiser(x_t, level, condition).mean - data
            found.append(gap.square().mean(dtype=torch.float64).cpu())
    return torch.stack(found)


def mean_square_noise(
    denoiser: Denoiser,
    data: Float[Tensor, "n *x"],
    times: Tensor,
    streams: Streams,
    *,
    condition: Condition = None,
) -> Tensor:
    """Γ: E‖ε̂‖²/d at each time; arguments as in ``mean_square_errors``."""
    found, noise = [], balanced(streams, data)
    with torch.no_grad():
        for level in denoiser.process.levels(times):
            x_t = denoiser.process.corrupt(data, level, noise)
            alpha, sigma = level.scales
            eps = combine(1 / sigma, x_t, -alpha / sigma, denoiser(x_t, level, condition).mean)
            found.append(eps.square().mean(dtype=torch.float64).cpu())
    return torch.stack(found)


def balanced(streams: Streams, data: Tensor) -> Tensor:
    """Standard normal noise with a mean square of exactly 1."""
    noise = streams.normal(data)
    return noise / noise.square().mean().sqrt()


@dataclass(frozen=True, eq=False)
class AnalyticVariance(Denoiser):
    """A denoiser with the same variance for every element and state of a level.

    Args:
        denoiser: Whose mean is used.
        log_ratios: ln σ/α, increasing.
        shares: C α²/σ² there, in [0, 1]; between the levels their logarithm is linear in ln σ/α.
        bound: Largest C; data in [−1, 1] has none above 1.
    """

    denoiser: Denoiser
    log_ratios: Float[Tensor, " k"]
    shares: Float[Tensor, " k"]
    bound: float | None = None

    def __post_init__(self) -> None:
        if self.log_ratios.shape != self.shares.shape or self.shares.ndim != 1:
            raise ShapeError("shares", self.shares.shape, f"{len(self.log_ratios)}, one per level")
        if len(self.shares) < 2 or not bool((self.log_ratios.diff() > 0).all()):
            raise InvalidOptionError("analytic variance", "levels", "give two or more, increasing")

    @property
    def reports_variance(self) -> bool:
        return True

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.denoiser.process

    @classmethod
    def measured(
        cls,
        denoiser: Denoiser,
        data: Float[Tensor, "n *x"],
        streams: Streams,
        *,
        by: str = "error",
        levels: int = 40,
        bound: float | None = None,
        condition: Condition = None,
    ) -> AnalyticVariance:
        """The variance as estimated on data, one evaluation per item and level.

        Args:
            denoiser: In model units.
            data: Clean data in model units.
            streams: One per item of ``data``.
            by: ``"error"`` or ``"score"``, as above.
            levels: How many, evenly spaced in ln σ/α over the process.
            bound: As for the class.
            condition: Passed to the denoiser.
        """
        if by not in {"error", "score"}:
            raise InvalidOptionError("analytic variance", f"by={by!r}", "use 'error' or 'score'")
        times = log_snr(denoiser.process, levels)[:-1].flip(0)
        log_ratios = denoiser.process.schedule.log_ratio(times)
        if by == "score":
            noise = mean_square_noise(denoiser, data, times, streams, condition=condition)
            shares = 1 - noise
        else:
            error = mean_square_errors(denoiser, data, times, streams, condition=condition)
            shares = error * (-2 * log_ratios).exp()
        return cls(denoiser, log_ratios, shares.clamp(0, 1), bound)

    def variance(self, t: Level) -> Tensor:
        """C at a level, float64."""
        places, values = self.log_ratios.double(), self.shares.double().clamp(min=1e-12).log()
        at = t.log_ratio.cpu().clamp(float(places[0]), float(places[-1])).contiguous()
        above = torch.searchsorted(places, at).clamp(1, len(places) - 1)
        part = (at - places[above - 1]) / (places[above] - places[above - 1])
        share = torch.lerp(values[above - 1], values[above], part).exp()
        found = share.to(t.sigma.device) * t.ratio**2
        return found if self.bound is None else found.clamp(max=self.bound)

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        estimate = self.denoiser(x_t, t, condition)
        variance = self.variance(t).to(x_t)
        variance = variance.reshape(variance.shape + (1,) * (x_t.ndim - variance.ndim))
        return replace(estimate, variance=variance, covariance=None, sampler=None)
