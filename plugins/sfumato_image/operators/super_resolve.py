"""More pixels: the picture is taken for a reduced version of the one that is sought.

    y = W x Wᵀ + noise

W averages f pixels (box) or interpolates with the antialiased bicubic kernel, per axis. Its
singular value decomposition is known, so all linear solvers run in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.standard import Downsample
from sfumato.inverse.tasks import Bound, Task
from sfumato.signals import Signal
from sfumato_image.noise_levels import Noise, in_range
from sfumato_image.operators.inputs import as_stored, noise_level, picture

__all__ = ["SuperResolve"]

FACTORS = (2, 3, 4, 8)
KERNELS = ("bicubic", "box")


@dataclass(frozen=True)
class SuperResolve(Task):
    """Enlarges a picture by an integer factor."""

    summary: ClassVar[str] = "enlarge 2, 3, 4 or 8 times"

    factor: Literal[2, 3, 4, 8] = 4
    """How many times wider and higher the result is."""

    kernel: Literal["bicubic", "box"] = "bicubic"
    """How the picture was made smaller: "bicubic" as programs do it, "box" by averaging, as the
    cells of a sensor do."""

    noise: Noise = 1.0
    """Standard deviation of the noise in the small picture, 0 to 255, or "auto". The estimate is
    too high for small pictures full of texture."""

    def __post_init__(self) -> None:
        if self.factor not in FACTORS:
            raise InvalidOptionError("super-resolve", f"factor={self.factor}", "use 2, 3, 4 or 8")
        if self.kernel not in KERNELS:
            raise InvalidOptionError(
                "super-resolve", f"kernel={self.kernel!r}", f"use {' or '.join(KERNELS)}"
            )
        if self.noise != "auto":
            in_range(self.noise, "super-resolve")

    def bind(self, signal: Signal) -> Bound:
        """The small picture as a measurement of one that is ``factor`` times larger."""
        data = picture(signal, "super-resolve")
        sigma, notes = noise_level(self.noise, signal, "super-resolve")
        height, width = data.shape[1:]
        operator = Downsample(
            factor=self.factor,
            shape=(self.factor * height, self.factor * width),
            kernel=self.kernel,
            likelihood=Gaussian(sigma),
        )
        return Bound(operator, data[None], signal, notes=notes)

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        """Reduces a picture.

        Raises:
            ShapeError: If the factor does not divide its sides.
        """
        data = picture(signal, "super-resolve")
        height, width = data.shape[1:]
        f = self.factor
        if height % f or width % f:
            raise ShapeError(
                "super-resolve: the picture", (height, width),
                f"sides that {f} divides; crop it to {height // f * f}×{width // f * f}",
            )  # fmt: skip
        sigma = 0.0 if self.noise == "auto" else in_range(self.noise, "super-resolve") / 255
        small = Downsample(f, (height, width), self.kernel)(data[None])[0]
        return as_stored(signal, small, sigma=sigma, seed=seed)
