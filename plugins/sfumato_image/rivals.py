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
from sfumato_image.intervals import within_intervals
from sfumato_image.operators.colorize import Luma
from sfumato_image.operators.declip import Clipped
from sfumato_image.operators.jpeg_planes import BlockCosine
from sfumato_image.surfaces import continued

__all__ = ["bicubic", "biharmonic", "grey", "lanczos", "nlm", "tv", "wavelet", "wiener"]

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
    """Total variation, for noise, for blur and inside the intervals of a JPEG file."""
    if isinstance(operator, BlockCosine) and operator.step is not None:
        layout, step = operator, operator.step
        return each(y, lambda row: within_intervals(row, operator=layout, step=step))
    if isinstance(operator, Identity):
        # the best weights for four photographs at σ 25/255 lie between 0.7 σ and 1.2 σ
        weight = deviation(operator)
        return each(y, lambda picture: baselines.tv(picture, weight=weight))
    blur = expect(operator, Convolve, "total variation", "denoise, deblur or dejpeg")
    return each(y, lambda picture: baselines.tv_deblur(picture, operator=blur))


def nlm(operator: Operator, y: Tensor) -> Tensor:
    """Non-local means of a noisy picture."""
    sigma = deviation(expect(operator, Identity, "non-local means", "denoise"))
    return each(y, lambda picture: baselines.nlm(picture, sigma=sigma))


def wavelet(operator: Operator, y: Tensor) -> Tensor:
    """Wavelet shrinkage of a noisy picture."""
    sigma = deviation(expect(operator, Identity, "wavelet shrinkage", "denoise"))
    return each(y, lambda picture: baselines.wavelet(picture, sigma=sigma))


def grey(operator: Operator, y: Tensor) -> Tensor:
    """The grey picture itself, as a picture with three equal channels."""
    expect(operator, Luma, "replicating the luminance", "colorize")
    return y.expand(-1, 3, -1, -1).clone()


def biharmonic(operator: Operator, y: Tensor) -> Tensor:
    """Biharmonic filling of damaged pixels; for clipped values a surface in tension."""
    if isinstance(operator, Identity) and isinstance(operator.likelihood, Clipped):
        low, high = operator.likelihood.low, operator.likelihood.high
        return each(y, lambda picture: continued(picture, low=low, high=high))
    known = expect(operator, Mask, "biharmonic filling", "inpaint or declip").mask
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
