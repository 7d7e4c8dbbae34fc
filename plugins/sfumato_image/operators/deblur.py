"""Undoing a known blur: y = k * x + noise.

Symmetric kernels with reflecting boundary are diagonal in the cosine transform, all kernels with
circular boundary in the Fourier transform; the rest is solved by conjugate gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.standard import Convolve
from sfumato.inverse.tasks import Bound, Task
from sfumato.signals import Signal
from sfumato_image.noise_levels import Noise, in_range
from sfumato_image.operators import blur_kernels
from sfumato_image.operators.inputs import as_stored, noise_level, picture

__all__ = ["Deblur"]

DEFAULT = 1.6
SIMULATED = 2.0


@dataclass(frozen=True)
class Deblur(Task):
    """Sharpens a picture whose blur is known."""

    summary: ClassVar[str] = "undo a Gaussian, motion or measured blur"

    sigma: float | None = None
    """Standard deviation of a Gaussian blur in pixels. 1.6 if no blur is named."""

    length: float | None = None
    """Length of a straight motion in pixels."""

    angle: float = 0.0
    """Direction of the motion in degrees, anticlockwise from the right."""

    kernel: Path | None = None
    """File with the blur of one bright point: a picture, or a NumPy array (.npy). Odd sides; it
    is scaled to sum 1."""

    boundary: Literal["reflect", "circular"] = "reflect"
    """How the picture goes on beyond its edges."""

    noise: Noise = "auto"
    """Standard deviation of the noise, 0 to 255, or "auto" to estimate it from the picture (in a
    simulation: 2)."""

    def __post_init__(self) -> None:
        given = [name for name in ("sigma", "length", "kernel") if getattr(self, name) is not None]
        if len(given) > 1:
            raise InvalidOptionError(
                "deblur", f"{' and '.join(given)} are given", "name one kind of blur"
            )
        for name, low in (("sigma", 0.1), ("length", 1.0)):
            value = getattr(self, name)
            if value is not None and not low <= value <= 200:
                raise InvalidOptionError("deblur", f"{name}={value}", f"use {low:g} to 200 pixels")
        if not math.isfinite(self.angle):
            raise InvalidOptionError("deblur", f"angle={self.angle}", "use degrees")
        if self.boundary not in ("reflect", "circular"):
            raise InvalidOptionError(
                "deblur", f"boundary={self.boundary!r}", "use reflect or circular"
            )
        if self.noise != "auto":
            in_range(self.noise, "deblur")

    def blur(self) -> Tensor:
        """The kernel, float64, odd sides, sum 1.

        Raises:
            SfumatoError: If it comes from a file that holds none.
        """
        if self.kernel is not None:
            return blur_kernels.from_file(self.kernel)
        if self.length is not None:
            return blur_kernels.motion(self.length, self.angle)
        return blur_kernels.gaussian(DEFAULT if self.sigma is None else self.sigma)

    def bind(self, signal: Signal) -> Bound:
        """The picture as a blurred, noisy measurement."""
        data, kernel = picture(signal, "deblur"), self.blur()
        sigma, notes = noise_level(self.noise, signal, "deblur")
        height, width = data.shape[1:]
        operator = Convolve(kernel, (height, width), self.boundary, Gaussian(sigma))
        return Bound(operator, data[None], signal, notes=notes)

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        """Blurs a picture and adds noise."""
        data, kernel = picture(signal, "deblur"), self.blur()
        height, width = data.shape[1:]
        sigma = SIMULATED if self.noise == "auto" else in_range(self.noise, "deblur")
        blurred = Convolve(kernel, (height, width), self.boundary)(data[None])[0]
        return as_stored(signal, blurred, sigma=sigma / 255, seed=seed)
