"""Blown highlights and crushed shadows: a value at the end of the scale is only a bound.

    y = min(max(x, low), high) + noise

Where y lies between the ends it is an ordinary measurement of x; at the ends it says x ≥ high or
x ≤ low. With σ the noise, Φ the normal distribution function and φ its density,

    ln p(y | x) = ln Φ((x − high)/σ)   at the upper end,
                  ln Φ((low − x)/σ)    at the lower end,
                  ln φ((y − x)/σ)      between.

What is restored is brighter than white, so it has to be given room: the whole picture is darkened
by ``exposure`` stops (and lifted by ``lift``), which is exact in the operator and leaves the other
pixels as they were but for that change of scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.likelihoods import Likelihood
from sfumato.inverse.standard import Identity
from sfumato.inverse.tasks import Bound, Part, Task
from sfumato.noise import Streams
from sfumato.signals import Signal
from sfumato_image.noise_levels import Noise, in_range
from sfumato_image.operators.inputs import as_stored, noise_level, picture
from sfumato_image.windows import FARTHEST, windows

__all__ = ["Clipped", "Declip"]

LEAST = 0.3 / 255  # σ; below it the likelihood is a wall that no gradient method gets along


@dataclass(frozen=True)
class Clipped(Likelihood):
    """Gaussian noise on a scale with two ends (a censored, or tobit, likelihood).

    Args:
        low: Values at or below it only say that z ≤ ``low``.
        high: Values at or above it only say that z ≥ ``high``.
        sigma: Standard deviation of the noise, > 0.
    """

    low: float
    high: float
    sigma: float

    def __post_init__(self) -> None:
        if not (self.low < self.high and 0 < self.sigma < math.inf):
            raise InvalidOptionError(
                "clipping", f"low={self.low}, high={self.high}, sigma={self.sigma}",
                "use low < high and sigma > 0",
            )  # fmt: skip

    def log_density(self, y: Tensor, z: Tensor) -> Tensor:
        between = -0.5 * ((y - z) / self.sigma) ** 2
        above = torch.special.log_ndtr((z - self.high) / self.sigma)
        below = torch.special.log_ndtr((self.low - z) / self.sigma)
        return torch.where(y >= self.high, above, torch.where(y <= self.low, below, between))

    def sample(self, z: Tensor, streams: Streams) -> Tensor:
        return (z + self.sigma * streams.normal(z)).clamp(self.low, self.high)

    def residual(self, y: Tensor, z: Tensor) -> Tensor:
        """(y − z)/σ; at the ends only what lies on the wrong side counts."""
        over = (self.high - z).clamp(min=0)
        under = (self.low - z).clamp(max=0)
        apart = torch.where(y >= self.high, over, torch.where(y <= self.low, under, y - z))
        return apart / self.sigma


@dataclass(frozen=True)
class Declip(Task):
    """Restores what is brighter than white or darker than black."""

    summary: ClassVar[str] = "restore blown highlights and crushed shadows"

    high: float = 255.0
    """Values from here on are blown, 0 to 255, in each channel by itself."""

    low: float = 0.0
    """Values down from here are crushed; -1 for none."""

    exposure: float = 0.5
    """Stops by which the result is darkened to make room for highlights. 0 keeps the scale, for
    floating-point files, which have room."""

    lift: float = 0.0
    """How much the result is lifted to make room for shadows, 0 to 255."""

    noise: Noise = 0.0
    """Standard deviation of the noise in the other pixels, 0 to 255, or "auto". With 0 they are
    returned unchanged, but for exposure and lift."""

    def __post_init__(self) -> None:
        if not -1 <= self.low < self.high <= 255:
            raise InvalidOptionError(
                "declip", f"low={self.low}, high={self.high}", "use -1 <= low < high <= 255"
            )
        if not 0 <= self.exposure <= 4 or not 0 <= self.lift <= 128:
            raise InvalidOptionError(
                "declip", f"exposure={self.exposure}, lift={self.lift}",
                "use an exposure of 0 to 4 stops and a lift of 0 to 128",
            )  # fmt: skip
        if self.noise != "auto":
            in_range(self.noise, "declip")

    def rescale(self, data: Tensor) -> Tensor:
        """File values on the scale of the result."""
        return (data + self.lift / 255) / 2**self.exposure

    def bind(self, signal: Signal) -> Bound:
        """The picture on the scale of the result, with its ends known as bounds only.

        Raises:
            InvalidOptionError: If no pixel is clipped, or all are.
        """
        data = picture(signal, "declip")
        # half a step of rounding inside the end, so that values at the end are recognised exactly
        ends = [(v + offset) / 255 for v, offset in ((self.low, 1e-3), (self.high, -1e-3))]
        clipped = (data <= ends[0]) | (data >= ends[1])
        if not bool(clipped.any()):
            raise InvalidOptionError(
                "declip", f"no value reaches {self.high:g} or {self.low:g}",
                "set high and low to where the picture stops",
            )  # fmt: skip
        if bool(clipped.all()):
            raise InvalidOptionError("declip", "every value is clipped", "set high and low")
        valid = ~clipped.any(dim=0)
        sigma, notes = noise_level(self.noise, signal, "declip", valid=valid)
        gain = 2**self.exposure
        low, high = ((end + self.lift / 255) / gain for end in ends)
        operator = Identity(Clipped(low, high, max(sigma, LEAST) / gain))
        y = self.rescale(data)[None]
        parts = []
        for box in windows(~valid):
            around = box.grown(FARTHEST, tuple(valid.shape))
            place = around.slices
            parts.append(Part(operator, y[:, *place], place, box.inside(around).slices))
        share = 100 * float(clipped.float().mean())
        notes += (f"{share:.2g} % of the values are clipped",)
        exact = self.noise == 0
        return Bound(
            operator=operator,
            y=y,
            signal=signal,
            finish=paste(y[0], clipped, low, high, exact=exact),
            parts=tuple(parts) if exact else (),
            base=y[0] if parts and exact else None,
            notes=notes,
        )

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        """Brightens a picture by ``exposure`` stops (less ``lift``) and clips it."""
        data = picture(signal, "declip")
        sigma = 0.0 if self.noise == "auto" else in_range(self.noise, "declip") / 255
        bright = data * 2**self.exposure - self.lift / 255
        noisy = as_stored(signal, bright, sigma=sigma, seed=seed)
        return noisy.with_data(noisy.data.clamp(max(self.low, 0) / 255, self.high / 255))


def paste(
    y: Tensor, clipped: Tensor, low: float, high: float, *, exact: bool
) -> Callable[[Tensor], Tensor]:
    """Puts unclipped values back, if they are exact, and clipped ones on their side of the end."""
    upper, lower = clipped & (y >= high), clipped & (y <= low)

    def finish(x: Tensor) -> Tensor:
        x = torch.where(upper.to(x.device), x.clamp(min=high), x)
        x = torch.where(lower.to(x.device), x.clamp(max=low), x)
        return torch.where(clipped.to(x.device), x, y.to(x)) if exact else x

    return finish
