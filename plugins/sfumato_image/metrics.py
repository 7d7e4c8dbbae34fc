"""How far an estimate is from the truth, with scikit-image's definitions, on any device.

    MAE   mean |a − b|
    PSNR  10 log₁₀ R²/mean (a − b)²  in dB, for values in a range R
    SSIM  mean over windows of
          (2 μ_a μ_b + C₁)(2 σ_ab + C₂) / ((μ_a² + μ_b² + C₁)(σ_a² + σ_b² + C₂))

(Wang et al., 2004) with C₁ = (0.01 R)², C₂ = (0.03 R)², windows of 7×7 equal weights and unbiased
(co)variances. Every function takes ``[channels, height, width]`` and returns one number, or
``[batch, channels, height, width]`` and returns one per item.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from sfumato.errors import ShapeError

__all__ = ["mae", "psnr", "ssim"]

WINDOW = 7


def mae(
    estimate: Float[Tensor, "*batch channels height width"],
    reference: Float[Tensor, "*batch channels height width"],
) -> Float[Tensor, "*batch"]:
    """Mean absolute error, in the data's units.

    Raises:
        ShapeError: If the shapes differ.
    """
    check_pair(estimate, reference)
    return (estimate - reference).abs().mean(dim=(-3, -2, -1))


def psnr(
    estimate: Float[Tensor, "*batch channels height width"],
    reference: Float[Tensor, "*batch channels height width"],
    *,
    data_range: float = 1.0,
) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in dB; infinite for equal pictures.

    Args:
        estimate: What is judged.
        reference: The truth.
        data_range: R: largest minus smallest possible value.

    Raises:
        ShapeError: If the shapes differ.
    """
    check_pair(estimate, reference)
    error = (estimate.double() - reference.double()).square().mean(dim=(-3, -2, -1))
    value = 10 * (data_range**2 / error).log10()
    return value.to(estimate.dtype)


def ssim(
    estimate: Float[Tensor, "*batch channels height width"],
    reference: Float[Tensor, "*batch channels height width"],
    *,
    data_range: float = 1.0,
) -> Float[Tensor, "*batch"]:
    """Structural similarity in [−1, 1], 1 for equal pictures; the mean over channels and windows.

    Args:
        estimate: What is judged.
        reference: The truth.
        data_range: R: largest minus smallest possible value.

    Raises:
        ShapeError: If the shapes differ or a side is shorter than 7 pixels.
    """
    check_pair(estimate, reference)
    if min(estimate.shape[-2:]) < WINDOW:
        raise ShapeError("the picture", estimate.shape, f"sides of at least {WINDOW} pixels")
    a, b = (x.double().reshape(-1, *x.shape[-3:]) for x in (estimate, reference))

    def mean(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, WINDOW, stride=1)

    unbiased = WINDOW**2 / (WINDOW**2 - 1)
    mean_a, mean_b = mean(a), mean(b)
    var_a = unbiased * (mean(a * a) - mean_a**2)
    var_b = unbiased * (mean(b * b) - mean_b**2)
    both = unbiased * (mean(a * b) - mean_a * mean_b)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    bottom = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    value = (top / bottom).mean(dim=(1, 2, 3))
    return value.reshape(estimate.shape[:-3]).to(estimate.dtype)


def check_pair(estimate: Tensor, reference: Tensor) -> None:
    """Refuses pictures of different shapes.

    Raises:
        ShapeError: If they differ, or are not pictures.
    """
    if estimate.shape != reference.shape or estimate.ndim not in (3, 4):
        expected = "×".join(str(n) for n in reference.shape)
        raise ShapeError("the estimate", estimate.shape, f"{expected}, as the reference")
    if not torch.is_floating_point(estimate):
        raise ShapeError("the estimate", (estimate.dtype,), "floating-point numbers")
