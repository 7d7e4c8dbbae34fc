"""Brownian motion on a torus and on a sphere (De Bortoli et al., 2022; Huang et al., 2022).

On a manifold there is no α x₀ + σ ε, but there is heat: q(x_t | x₀) is the heat kernel at variance
σ², and as σ grows it becomes uniform. A score is a tangent vector, and

    x̂ = x_t + σ² ∇ ln p(x_t)

in the coordinates of the space around plays the part of E[x₀ | x_t] (it is that in flat space). The
step of any sampler for α = 1 then is a vector in the tangent space at x_t, and a geodesic takes it.

    torus    angles; the kernel is a normal density wrapped around, Σₖ N(x − x₀ + 2πk; 0, σ²)
    sphere   unit vectors in 3 dimensions; Σₗ (2l + 1)/(4π) e^{−l(l+1)σ²/2} P_l(x · x₀)

The angle θ from x₀ on the sphere is drawn by inverting its distribution function. At σ < ``SMALL``
the series is long, and e^{−θ²/2σ²} √(θ/sin θ) takes its place, with a relative error of order σ².
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes.gaussian import Gaussian, Level, like
from sfumato.processes.schedules import VE, Schedule

__all__ = ["Manifold", "Riemannian", "Sphere", "Torus"]

SMALL = 0.1
ANGLES = 2048
"""Points of the table of the distribution function of θ."""


class Manifold(ABC):
    """Points are tensors ``[batch, *x]``."""

    @abstractmethod
    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        """The part of ``v`` that is tangent at ``x``."""

    @abstractmethod
    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        """Where the geodesic from ``x`` with velocity ``v``, tangent there, is at time 1."""

    @abstractmethod
    def uniform(self, like_x: Tensor, streams: Streams) -> Tensor:
        """Uniform points."""

    @abstractmethod
    def spread(self, x_0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """A draw from the heat kernel around ``x_0``, as a function of standard normal noise."""

    @abstractmethod
    def heat(self, x: Tensor, x_0: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """ln of the kernel up to a constant, ``[batch]``, and σ² times its gradient at ``x``."""


@dataclass(frozen=True)
class Torus(Manifold):
    """Angles in [−π, π)."""

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        return v

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        return torch.remainder(x + v + math.pi, math.tau) - math.pi

    def uniform(self, like_x: Tensor, streams: Streams) -> Tensor:
        return (streams.uniform(like_x) * 2 - 1) * math.pi

    def spread(self, x_0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        return self.exp(x_0, like(sigma, x_0) * noise)

    def heat(self, x: Tensor, x_0: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        turns = math.ceil(5 * float(sigma.max()) / math.tau) + 1
        images = math.tau * torch.arange(-turns, turns + 1, dtype=x.dtype, device=x.device)
        gap = self.exp(torch.zeros_like(x), x - x_0)[..., None] + images
        width = like(sigma, x)
        width = width[..., None] if isinstance(width, Tensor) and width.ndim else width
        logs = -(gap**2) / (2 * width**2)
        pull = -(logs.softmax(dim=-1) * gap).sum(dim=-1)
        return logs.logsumexp(dim=-1).flatten(1).sum(dim=1), pull


@dataclass(frozen=True)
class Sphere(Manifold):
    """Unit vectors of length 3 along the last axis; one per item: ``[batch, 3]``."""

    def tangent(self, x: Tensor, v: Tensor) -> Tensor:
        return v - (x * v).sum(dim=-1, keepdim=True) * x

    def exp(self, x: Tensor, v: Tensor) -> Tensor:
        length = v.norm(dim=-1, keepdim=True)
        y = length.cos() * x + torch.sinc(length / math.pi) * v
        unit: Tensor = y / y.norm(dim=-1, keepdim=True)
        return unit

    def uniform(self, like_x: Tensor, streams: Streams) -> Tensor:
        z = streams.normal(like_x)
        unit: Tensor = z / z.norm(dim=-1, keepdim=True).clamp(min=1e-30)
        return unit

    def spread(self, x_0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        v = self.tangent(x_0, noise)
        length = v.norm(dim=-1)
        share = -torch.expm1(-(length**2) / 2)  # the length of two normals, as a uniform number
        widths = sigma.double().cpu().expand(len(x_0))
        theta = torch.empty_like(widths)
        for width in sorted(set(widths.tolist())):
            here = widths == width
            theta[here] = quantile(width, share.cpu()[here])
        return self.exp(x_0, v * (theta / length.clamp(min=1e-30)).to(v)[:, None])

    def heat(self, x: Tensor, x_0: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        cosine = (x * x_0).sum(dim=-1).clamp(-1, 1)
        logs, slopes = torch.empty_like(cosine), torch.empty_like(cosine)
        widths = sigma.double().expand(len(x)).to(x.device)
        for width in sorted(set(widths.tolist())):
            here = widths == width
            logs[here], slopes[here] = kernel(width, cosine[here])
        square = like(sigma**2, x)
        return logs, square * slopes[:, None] * self.tangent(x, x_0)


def kernel(sigma: float, cosine: Tensor) -> tuple[Tensor, Tensor]:
    """ln of the heat kernel on the sphere, and its derivative with respect to x · x₀."""
    if sigma < SMALL:
        theta = torch.acos(cosine).clamp(min=1e-7)
        sine = theta.sin().clamp(min=1e-7)
        falling = -theta / sigma**2 + (1 / theta - theta.cos() / sine) / 2
        return -(theta**2) / (2 * sigma**2) + (theta / sine).log() / 2, -falling / sine
    total, slope = torch.zeros_like(cosine), torch.zeros_like(cosine)
    last, now = torch.zeros_like(cosine), torch.ones_like(cosine)
    last_slope, now_slope = torch.zeros_like(cosine), torch.zeros_like(cosine)
    for order in range(math.ceil(8 / sigma) + 2):
        weight = (2 * order + 1) * math.exp(-order * (order + 1) * sigma**2 / 2)
        total, slope = total + weight * now, slope + weight * now_slope
        following = ((2 * order + 1) * cosine * now - order * last) / (order + 1)
        following_slope = last_slope + (2 * order + 1) * now  # P'_{l+1} = P'_{l−1} + (2l + 1) P_l
        last, now, last_slope, now_slope = now, following, now_slope, following_slope
    total = total.clamp(min=1e-12)  # beyond, the series is rounding
    return total.log(), slope / total


def quantile(sigma: float, u: Tensor) -> Tensor:
    """The angle below which a share ``u`` of the heat kernel lies."""
    reach = math.pi if sigma >= SMALL else min(math.pi, 8 * sigma)
    theta = torch.linspace(0, reach, ANGLES, dtype=torch.float64)
    density = kernel(sigma, theta.cos())[0].exp() * theta.sin()
    table = torch.cat([torch.zeros(1).double(), (density[1:] + density[:-1]).cumsum(0)])
    share = u.double().cpu() * table[-1]
    above = torch.searchsorted(table, share).clamp(1, ANGLES - 1)
    part = (share - table[above - 1]) / (table[above] - table[above - 1]).clamp(min=1e-300)
    return torch.lerp(theta[above - 1], theta[above], part.clamp(0, 1))


@dataclass(frozen=True)
class Riemannian(Gaussian):
    """Brownian motion on a manifold, with variance σ(t)².

    Args:
        schedule: With α = 1; its largest σ should make the kernel uniform: 4 on a torus, 2 on a
            sphere are enough.
        manifold: Where.

    Raises:
        InvalidOptionError: If the schedule has another α.
    """

    schedule: Schedule = field(default_factory=lambda: VE(0.005, 5.0))
    manifold: Manifold = field(default_factory=Torus)
    normal: ClassVar[bool] = False
    flat: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if float(self.schedule.alpha(torch.tensor(0.5))) != 1:
            raise InvalidOptionError("manifold", f"{self.schedule}", "use a schedule with α = 1")

    def corrupt(
        self, x_0: Float[Tensor, "batch *x"], level: Level, noise: Float[Tensor, "batch *x"]
    ) -> Float[Tensor, "batch *x"]:
        return self.manifold.spread(x_0, level.sigma, noise)

    def renoise(
        self,
        x_s: Float[Tensor, "batch *x"],
        s: Level,
        t: Level,
        noise: Float[Tensor, "batch *x"],
    ) -> Float[Tensor, "batch *x"]:
        return self.manifold.spread(x_s, (t.sigma**2 - s.sigma**2).clamp(min=0).sqrt(), noise)

    def start(self, like_x: Tensor, level: Level, streams: Streams) -> Tensor:
        return self.manifold.uniform(like_x, streams)

    def log_noise(self, square: Tensor, sigma: Tensor, n: int) -> Tensor:
        raise UnsupportedError(
            "a data set's exact denoiser", "noise in flat space", "this is a manifold",
            ["PointsOnManifold"],
        )  # fmt: skip
