"""Adding colour: a grey picture is one number per pixel of a coloured one.

    y = 0.299 R + 0.587 G + 0.114 B + noise

These are the weights of ITU-R BT.601, with which programs turn pictures grey. Per pixel this is
a scalar product w·x, so its singular value decomposition has the one singular value |w|.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.inverse.likelihoods import Gaussian, Likelihood
from sfumato.inverse.operators import Linear, Spectrum
from sfumato.inverse.tasks import Bound, Task
from sfumato.signals import Signal
from sfumato_image.noise_levels import Noise, in_range
from sfumato_image.operators.inputs import as_stored, noise_level, picture

__all__ = ["Colorize", "Luma"]

WEIGHTS = (0.299, 0.587, 0.114)
LENGTH = math.hypot(*WEIGHTS)


@dataclass(frozen=True, eq=False)
class Luma(Linear):
    """``[batch, 3, height, width]`` to its grey picture ``[batch, 1, height, width]``.

    Args:
        likelihood: Noise of the grey picture.
    """

    likelihood: Likelihood = Gaussian()

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or x.shape[1] != 3:
            raise ShapeError("data", x.shape, "batch×3×height×width")
        return (weights(x) * x).sum(dim=1, keepdim=True)

    def adjoint(self, y: Tensor) -> Tensor:
        return weights(y) * y

    def data_shape(self, y_shape: Sequence[int]) -> tuple[int, ...]:
        return (y_shape[0], 3, *y_shape[2:])

    @property
    def spectrum(self) -> Spectrum:
        def same(c: Tensor) -> Tensor:
            return c

        return Spectrum(
            torch.tensor(LENGTH, dtype=torch.float64),
            analyse=lambda x: self(x) / LENGTH,
            synthesise=lambda c: self.adjoint(c) / LENGTH,
            project=same,
            embed=same,
        )


@dataclass(frozen=True)
class Colorize(Task):
    """Gives a grey picture colours."""

    summary: ClassVar[str] = "add colour to a grey picture"

    noise: Noise = 0.0
    """Standard deviation of the noise in the grey picture, 0 to 255, or "auto"."""

    def __post_init__(self) -> None:
        if self.noise != "auto":
            in_range(self.noise, "colorize")

    def bind(self, signal: Signal) -> Bound:
        """The grey picture as a measurement of a coloured one; colours it may have are dropped."""
        data = picture(signal, "colorize")
        notes: tuple[str, ...] = ()
        if data.shape[0] == 3:
            if bool((data != data[:1]).any()):
                notes = ("the colours of the input are not used",)
            data = Luma()(data[None])[0]
        grey = replace(signal, data=data)
        sigma, estimated = noise_level(self.noise, grey, "colorize")
        operator = Luma(Gaussian(sigma))
        finish = keep_luma(data) if self.noise == 0 else unchanged
        return Bound(operator, data[None], grey, finish=finish, notes=notes + estimated)

    def degrade(self, signal: Signal, *, seed: int = 0) -> Signal:
        """Turns a coloured picture grey."""
        data = picture(signal, "colorize")
        grey = Luma()(data[None])[0] if data.shape[0] == 3 else data
        sigma = 0.0 if self.noise == "auto" else in_range(self.noise, "colorize") / 255
        return as_stored(signal, grey, sigma=sigma, seed=seed)


def keep_luma(grey: Tensor) -> Callable[[Tensor], Tensor]:
    """x ↦ the nearest picture with exactly this luma."""

    def finish(x: Tensor) -> Tensor:
        missing = grey.to(x) - (weights(x)[0] * x).sum(dim=0, keepdim=True)
        return x + weights(x)[0] * missing / LENGTH**2

    return finish


def unchanged(x: Tensor) -> Tensor:
    return x


def weights(x: Tensor) -> Tensor:
    """w, shaped to meet ``[batch, 3, height, width]``."""
    return torch.tensor(WEIGHTS, dtype=x.dtype, device=x.device).reshape(1, 3, 1, 1)
