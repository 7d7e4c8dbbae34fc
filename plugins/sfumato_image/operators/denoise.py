"""Removing noise: y = x + σ n."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.standard import Identity
from sfumato.inverse.tasks import Bound, Task
from sfumato.signals import Signal
from sfumato_image.noise_levels import Noise, in_range
from sfumato_image.operators.inputs import as_stored, noise_level, picture

__all__ = ["Denoise"]

SIMULATED = 25.0


@dataclass(frozen=True)
class Denoise(Task):
    """Removes white noise."""

    summary: ClassVar[str] = "remove white noise of known or estimated strength"

    noise: Noise = "auto"
    """Standard deviation of the noise, 0 to 255, or "auto" to estimate it from the picture (in a
    simulation: 25)."""

    def __post_init__(self) -> None:
        if self.noise != "auto":
            in_range(self.noise, "denoise")

    def bind(self, signal: Signal) -> Bound:
        """The picture as a noisy measurement of itself."""
        data = picture(signal, "denoise")
        sigma, notes = noise_level(self.noise, signal, "denoise")
        return Bound(Identity(Gaussian(sigma)), data[None], signal, notes=notes)

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        """Adds noise."""
        sigma = SIMULATED if self.noise == "auto" else in_range(self.noise, "denoise")
        return as_stored(signal, picture(signal, "denoise"), sigma=sigma / 255, seed=seed)
