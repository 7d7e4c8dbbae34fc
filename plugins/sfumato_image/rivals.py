"""The classical methods as ``(operator, y) -> x``: what a plugin's baselines are.

Each takes what it needs to know from the operator: the factor, the kernel, the mask, the noise.
``y`` and the result have a batch axis. An operator that a method is not made for is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from sfumato.errors import UnsupportedError
from sfumato.inverse.operators import Operator
from sfumato.inverse.standard import Convolve, Downsample, Identity, Mask
from sfumato_image import baselines

__all__ = ["bicubic", "biharmonic", "lanczos", "nlm", "tv", "wavelet", "wiener"]

Kind = TypeVar("Kind")


def bicubic(operator: Operator, y: Tensor) -> Tensor:
    """Bicubic interpolation of a picture that was reduced."""
    factor = expect(operator, Downsample, "bicubic interpolation", "super-resolve").factor
    return each(y, lambda picture: baselines.bicubic(picture, factor=factor))


def lanczos(operator: Operator, y: Tensor) -> Tensor:
    """Lanczos interpolation of a picture that was reduced."""
    factor = expect(operator, Downsample, "Lanczos interpolation", "super-resolve").factor
    return each(y, lambda picture: baselines.lanczos(picture, factor=factor))


def wiener(operator: Operator, y: Tensor) -> Tensor:
    """Wiener filter of a blurred picture."""
    blur = expect(operator, Convolve, "the Wiener filter", "deblur")
    boundary = "circular" if blur.boundary == "circular" else "reflect"
    return each(y, lambda picture: baselines.wiener(picture, kernel=blur.kernel, boundary=boundary))


def tv(operator: Operator, y: Tensor) -> Tensor:
    """Total variation, for noise and for blur."""
    if isinstance(operator, Identity):
        # the best weights for four photographs at σ 25/255 lie between 0.7 σ and 1.2 σ
        weight = deviation(operator)
        return each(y, lambda picture: baselines.tv(picture, weight=weight))
    blur = expect(operator, Convolve, "total variation", "denoise or deblur")
    return each(y, lambda picture: baselines.tv_deblur(picture, operator=blur))


def nlm(operator: Operator, y: Tensor) -> Tensor:
    """Non-local means of a noisy picture."""
    sigma = deviation(expect(operator, Identity, "non-local means", "denoise"))
    return each(y, lambda picture: baselines.nlm(picture, sigma=sigma))


def wavelet(operator: Operator, y: Tensor) -> Tensor:
    """Wavelet shrinkage of a noisy picture."""
    sigma = deviation(expect(operator, Identity, "wavelet shrinkage", "denoise"))
    return each(y, lambda picture: baselines.wavelet(picture, sigma=sigma))


def biharmonic(operator: Operator, y: Tensor) -> Tensor:
    """Biharmonic filling of the damaged pixels."""
    known = expect(operator, Mask, "biharmonic filling", "inpaint").mask
    return each(y, lambda picture: baselines.biharmonic(picture, mask=known))


def expect(operator: Operator, kind: type[Kind], method: str, task: str) -> Kind:
    if not isinstance(operator, kind):
        raise UnsupportedError(
            method, f"the operator of {task}", f"this one is {type(operator).__name__}"
        )
    return operator


def deviation(operator: Operator) -> float:
    variance = operator.likelihood.variance
    if variance is None:
        raise UnsupportedError(
            "this method", "Gaussian noise", f"it is {type(operator.likelihood).__name__}"
        )
    return float(variance.mean().sqrt())


def each(y: Tensor, method: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([method(picture) for picture in y])
