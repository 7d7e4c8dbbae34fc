"""The source wavelet: a recorded trace is the ground's reflectivity x convolved with it.

    y = w * x + n,    w(t) = (1 − 2 (π f t)²) exp(−(π f t)²)        (Ricker, 1953)

The wavelet holds neither low nor high frequencies, so y leaves them open and the prior fills them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from sfumato.errors import InvalidOptionError
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.operators import FromFunction
from sfumato.inverse.tasks import Bound, Task
from sfumato.signals import Signal

__all__ = ["Deconvolve"]


@dataclass(frozen=True)
class Deconvolve(Task):
    """Undoes a Ricker wavelet.

    Args:
        frequency: Peak frequency of the wavelet in hertz.
        noise: Standard deviation of the noise, in the units of the trace.
    """

    summary: ClassVar[str] = "undo a Ricker wavelet of known frequency"

    frequency: float = 30.0
    noise: float = 0.05

    def __post_init__(self) -> None:
        if not (0 < self.frequency < math.inf and 0 <= self.noise < math.inf):
            raise InvalidOptionError(
                "traces deconvolve", f"frequency={self.frequency}, noise={self.noise}",
                "use frequency > 0 and noise >= 0",
            )  # fmt: skip

    def bind(self, signal: Signal) -> Bound:
        return Bound(self.operator(signal), signal.data[None], signal)

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        return signal.with_data(self.operator(signal).measure(signal.data[None], seed=seed)[0])

    def operator(self, signal: Signal) -> FromFunction:
        """The convolution for traces like ``signal``; its adjoint comes from autograd."""
        wavelet = ricker(self.frequency, signal.meta.get("interval_s", 0.002))
        half = len(wavelet) // 2

        def convolve(x: Tensor) -> Tensor:
            return functional.conv1d(x, wavelet.to(x)[None, None], padding=half)

        return FromFunction(convolve, tuple(signal.data.shape), Gaussian(self.noise))


def ricker(frequency: float, interval: float) -> Tensor:
    """The wavelet on the sampling grid, of odd length and unit energy, in float64."""
    half = max(1, round(1.5 / (frequency * interval)))
    t = torch.arange(-half, half + 1, dtype=torch.float64) * interval
    square = (math.pi * frequency * t) ** 2
    wavelet = (1 - 2 * square) * torch.exp(-square)
    unit: Tensor = wavelet / torch.linalg.vector_norm(wavelet)
    return unit
