"""Orthonormal transforms that diagonalise convolutions: one real number per coefficient.

For real data the Hartley transform h(k) = Re X(k) − Im X(k), X = F x, is real, orthonormal and its
own inverse; complex data use the Fourier transform itself. Convolution with periodic boundary is
diagonal in it up to an all-pass filter. Convolution of data continued by half-sample reflection
(d c b a | a b c d | d c b a) with a symmetric kernel is diagonal in the cosine transform DCT-II.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["cosine", "filtered", "hartley", "inverse_cosine", "inverse_hartley"]

Axes = tuple[int, ...]


def hartley(x: Tensor, axes: Axes) -> Tensor:
    """The Hartley transform of real, the Fourier transform of complex data; orthonormal."""
    transform: Tensor = torch.fft.fftn(x, dim=axes, norm="ortho")
    return transform if x.is_complex() else transform.real - transform.imag


def inverse_hartley(c: Tensor, axes: Axes) -> Tensor:
    """The inverse of ``hartley``."""
    return torch.fft.ifftn(c, dim=axes, norm="ortho") if c.is_complex() else hartley(c, axes)


def filtered(x: Tensor, response: Tensor, axes: Axes) -> Tensor:
    """F* diag(response) F x; real for real data (the response is then Hermitian)."""
    transform = torch.fft.fftn(x, dim=axes)
    response = response.to(device=x.device, dtype=transform.dtype)
    result: Tensor = torch.fft.ifftn(response * transform, dim=axes)
    return result if x.is_complex() else result.real


def cosine(x: Tensor, axes: Axes) -> Tensor:
    """Orthonormal DCT-II along each axis, by one FFT of the same length (Makhoul, 1980)."""
    if x.is_complex():
        return torch.complex(cosine(x.real, axes), cosine(x.imag, axes))
    for axis in axes:
        x = x.movedim(axis, -1)
        n = x.shape[-1]
        reordered = torch.cat([x[..., ::2], x[..., 1::2].flip(-1)], dim=-1)
        x = (torch.fft.fft(reordered) * twiddle(x, -1)).real * scale(x)
        x = x.reshape(*x.shape[:-1], n).movedim(-1, axis)
    return x


def inverse_cosine(c: Tensor, axes: Axes) -> Tensor:
    """The inverse (and transpose) of ``cosine``."""
    if c.is_complex():
        return torch.complex(inverse_cosine(c.real, axes), inverse_cosine(c.imag, axes))
    for axis in axes:
        c = c.movedim(axis, -1)
        n = c.shape[-1]
        c = c / scale(c)
        mirrored = torch.cat([torch.zeros_like(c[..., :1]), c[..., 1:].flip(-1)], dim=-1)
        reordered = torch.fft.ifft(torch.complex(c, -mirrored) * twiddle(c, 1)).real
        x = torch.empty_like(c)
        x[..., ::2] = reordered[..., : (n + 1) // 2]
        x[..., 1::2] = reordered[..., (n + 1) // 2 :].flip(-1)
        c = x.movedim(-1, axis)
    return c


def twiddle(x: Tensor, sign: int) -> Tensor:
    n = x.shape[-1]
    angle = sign * math.pi / (2 * n) * torch.arange(n, dtype=x.dtype, device=x.device)
    return torch.polar(torch.ones_like(angle), angle)


def scale(x: Tensor) -> Tensor:
    n = x.shape[-1]
    values = torch.full((n,), math.sqrt(2 / n), dtype=x.dtype, device=x.device)
    values[0] = math.sqrt(1 / n)
    return values
