"""Fusing the state with a measurement of single elements: exact, where levels may be uneven.

The state x_t = α x₀ + σ ε and a measurement y = x₀ + n of an element, n ~ N(0, σ_y²), are two
independent Gaussian looks at the same x₀. What they say together is one look,

    z = r² (α x_t/σ² + y/σ_y²),        1/r² = α²/σ² + 1/σ_y²,        z | x₀ ~ N(x₀, r²),

and where nothing is measured the look is x_t/α with r = σ/α. So z is a state of the same process in
which every element has its own level, and

    E[x₀ | x_t, y] = D(z, r),

with nothing approximated but the network D: no linearisation, no covariance, no backward pass. The
denoiser must take a level for every element, as networks with a noise map do. An element measured
without noise is at the lowest level, and comes back as measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sfumato.denoisers import Denoiser, Estimate
from sfumato.denoisers.base import layers
from sfumato.errors import InvalidOptionError
from sfumato.inverse.capabilities import data_spread
from sfumato.inverse.conditioning import INFLATION, draw_inflation, unexplained, widened
from sfumato.inverse.elements import elements
from sfumato.inverse.problems import Guide, Problem
from sfumato.processes import Level, like

__all__ = ["Fused"]

IMAGES = 4
"""Evaluations of the first estimate, each in another mirror image where there are any."""
REFINED = (0.4, 0.2, 0.1)
"""σ/α, in deviations of the data, at which it is evaluated again, twice each."""
WINDOW = 17
"""Side of the region in which two estimates are compared."""
POOLS = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}


@dataclass(frozen=True)
class Fused(Guide):
    """The exact posterior denoiser of masks and of white noise, known or uneven.

    Args:
        inflation: Factor on the variance of draws of x₀, up to what an element has if the prior
            says nothing (``conditioning.widened``); 1 where nothing is drawn, ``None`` for
            ``draw_inflation``, and ``INFLATION`` with networks that hear neighbours.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"mask", "places", "gaussian", "uneven"})
    extra: ClassVar[int] = IMAGES + 2 * len(REFINED)

    inflation: float | None = 1.0

    def __post_init__(self) -> None:
        if self.inflation is not None and not self.inflation >= 0:
            raise InvalidOptionError("Fused", f"inflation={self.inflation}", "use 0 or more")

    @property
    def exact(self) -> bool:
        return self.inflation == 1

    def __call__(self, problem: Problem, x_t: Tensor, t: Level) -> Estimate:
        measured, values, noise = elements(problem)
        free = like(t.ratio, x_t).square()
        share = torch.where(measured, free / (free + noise), 0.0)
        z = torch.lerp(x_t / like(t.alpha, x_t), values, share)
        looks = torch.where(measured, share * noise, free)
        level = uneven(problem, looks)
        state = like(level.alpha, z) * z
        estimate = problem.denoiser(state, level, problem.condition)
        sure, spread = measured & (noise == 0), self.spread(problem, estimate, looks)
        draw = estimate.sampler
        return Estimate(
            torch.where(sure, values, estimate.mean),
            variance=None if spread is None else torch.where(sure, 0.0, spread),
            sampler=None if draw is None else lambda s: torch.where(sure, values, draw(s)),
        )

    def estimate(self, problem: Problem, pilot: Tensor) -> Tensor:
        """What the network says at once, refined, and its mean with ``pilot`` where they agree.

        Only for networks that hear neighbours; others know little of masks at high noise.
        """
        if not fills(problem.denoiser):
            return pilot
        process, guide = problem.denoiser.process, replace(self, inflation=1.0)
        noisiest = process.level(process.schedule.t_max)
        with torch.no_grad():
            looks = [guide(problem, problem.blank(), noisiest).mean for _ in range(IMAGES)]
            found = torch.stack(looks).mean(dim=0)
            variance = torch.zeros_like(found)
            for share in REFINED:
                t = process.at_ratio(share * data_spread(problem.denoiser))
                x_t = like(t.alpha, found) * found
                pair = [guide(problem, x_t, t) for _ in range(2)]
                found = torch.stack([one.mean for one in pair]).mean(dim=0)
                said = [one.variance for one in pair if one.variance is not None]
                variance = torch.stack(said).mean(dim=0) if said else variance
            return agreed(found, variance, pilot)

    def spread(self, problem: Problem, estimate: Estimate, looks: Tensor) -> Tensor | None:
        """Variance of the elements of a draw; ``looks`` is r² of z."""
        if estimate.variance is None or self.inflation == 1:
            return estimate.variance
        factor = self.inflation
        if factor is None:
            # what neighbours fill in has no noise, in colours or elsewhere, that grey could lack
            factor = INFLATION if fills(problem.denoiser) else draw_inflation(problem.denoiser)
        return widened(estimate.variance, unexplained(looks, problem.denoiser), factor)


def fills(denoiser: Denoiser) -> bool:
    """Whether a network is told what neighbours say."""
    return any(getattr(layer, "fills", False) for layer in layers(denoiser))


def agreed(found: Tensor, variance: Tensor, other: Tensor) -> Tensor:
    """The mean of two estimates where they differ by no more than chance, else nearly the first.

    Two estimates of variance v differ by 2v in square. Where they differ by d² > 2v, the second
    is wrong by d² − v, and the weights v/d² and 1 − v/d² have the least error.
    """
    apart, v = local(other - found), local(variance.sqrt())
    weight = v / torch.maximum(apart, 2 * v).clamp(min=torch.finfo(v.dtype).tiny)
    return torch.lerp(found, other, weight)


def local(deviation: Tensor) -> Tensor:
    """Mean square over the channels of a place and those around it."""
    square = deviation.square().mean(dim=1, keepdim=True)
    pool = POOLS.get(deviation.ndim - 2)
    if pool is None:
        return square.flatten(1).mean(dim=1).reshape(-1, *[1] * (deviation.ndim - 1))
    sides = [min(WINDOW, n - 1 + n % 2) for n in square.shape[2:]]
    return pool(square, sides, 1, [side // 2 for side in sides], count_include_pad=False)


def uneven(problem: Problem, variance: Tensor) -> Level:
    """The level at which every element of x₀ is seen with its own ``variance``, in data units."""
    process = problem.denoiser.process
    if variance.ndim > 2:  # all channels of a place are alike
        variance = variance[:, :1]
    # a logarithm for each element is not cheap
    values, places = torch.unique(variance, return_inverse=True)
    levels = process.level(process.schedule.time_of(values.double().cpu().log() / 2))
    t, alpha, sigma = (c[places.cpu()] for c in (levels.t, levels.alpha, levels.sigma))
    return Level(t.flatten(1).amax(dim=1), alpha, sigma, process)
