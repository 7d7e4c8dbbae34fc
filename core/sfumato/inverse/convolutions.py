"""Convolution in one to three dimensions, with its exact adjoint.

    y(i) = Σⱼ k(j) x(i − j)

Data end somewhere, so a boundary is part of the operator. *Circular* continues them periodically;
*reflect* by half-sample reflection, d c b a | a b c d | d c b a. Both are applied by FFT, so the
cost does not depend on the size of the kernel. Circular convolution is diagonal in the Hartley
transform (Fourier for complex data) up to an all-pass filter, reflected convolution with a kernel
symmetric along every axis is diagonal in the cosine transform; both then have closed-form inverses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, NotFiniteError, ShapeError
from sfumato.inverse.likelihoods import Gaussian, Likelihood
from sfumato.inverse.operators import Linear
from sfumato.inverse.spectra import Spectrum
from sfumato.inverse.transforms import cosine, filtered, hartley, inverse_cosine, inverse_hartley

__all__ = ["Convolve"]


@dataclass(frozen=True, eq=False)
class Convolve(Linear):
    """Convolution over the last axes of x, the same for every channel.

    Args:
        kernel: k with as many axes as are convolved (1 to 3), of odd sizes; its middle is j = 0.
            Used as it is; scale it to sum 1 for a blur.
        shape: Sizes of the convolved axes of x.
        boundary: ``"reflect"`` or ``"circular"``.
        likelihood: Noise.

    Raises:
        ShapeError: If a size of the kernel is even, or ``shape`` has another number of axes.
        NotFiniteError: If the kernel is not finite.
        InvalidOptionError: If the kernel is zero or the boundary unknown.
    """

    kernel: Tensor
    shape: tuple[int, ...]
    boundary: str = "reflect"
    likelihood: Likelihood = field(default_factory=Gaussian)

    def __post_init__(self) -> None:
        sizes = tuple(self.kernel.shape)
        if not 1 <= len(sizes) <= 3 or any(n % 2 == 0 for n in sizes):
            raise ShapeError("kernel", sizes, "one to three axes of odd size")
        if len(self.shape) != len(sizes) or min(self.shape) < 1:
            raise ShapeError("shape of the data", self.shape, f"{len(sizes)} sizes, as the kernel")
        bad = ~torch.isfinite(self.kernel.abs())
        if bool(bad.any()):
            raise NotFiniteError("kernel", int(bad.sum()), bad.numel())
        if not bool(self.kernel.any()):
            raise InvalidOptionError("kernel", "all of it is zero", "give one that passes some")
        if self.boundary not in {"reflect", "circular"}:
            raise InvalidOptionError(
                "convolution", f"boundary={self.boundary!r}", "use 'reflect' or 'circular'"
            )

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(range(-self.kernel.ndim, 0))

    @cached_property
    def margins(self) -> tuple[int, ...]:
        """How far the data are continued on each side."""
        if self.boundary == "circular":
            return (0,) * self.kernel.ndim
        return tuple(n // 2 for n in self.kernel.shape)

    @cached_property
    def response(self) -> Tensor:
        """Fourier transform of the kernel on the grid of the continued data."""
        kernel = self.kernel.to(torch.complex128)
        for axis, (n, margin) in enumerate(zip(self.shape, self.margins, strict=True)):
            # a kernel longer than the period wraps around
            length = kernel.shape[axis]
            place = (torch.arange(length, device=kernel.device) - length // 2) % (n + 2 * margin)
            size = list(kernel.shape)
            size[axis] = n + 2 * margin
            kernel = kernel.new_zeros(size).index_add(axis, place, kernel)
        response: Tensor = torch.fft.fftn(kernel)
        return response

    def __call__(self, x: Tensor) -> Tensor:
        self.check(x)
        return self.crop(filtered(self.extend(x), self.response, self.axes))

    def adjoint(self, y: Tensor) -> Tensor:
        self.check(y)
        return self.fold(filtered(self.embed(y), self.response.conj(), self.axes))

    def check(self, x: Tensor) -> None:
        found = tuple(x.shape[-self.kernel.ndim :])
        if found != self.shape or x.ndim <= self.kernel.ndim:
            raise ShapeError("data", found, "×".join(map(str, self.shape)) + " after a batch axis")
        if self.kernel.is_complex() and not x.is_complex():
            raise InvalidOptionError("convolution", f"x is {x.dtype}", "give complex data")

    def extend(self, x: Tensor) -> Tensor:
        for axis, n, margin in zip(self.axes, self.shape, self.margins, strict=True):
            if margin:
                x = x.index_select(axis, reflected(n, margin, x.device))
        return x

    def fold(self, x: Tensor) -> Tensor:
        """The adjoint of ``extend``."""
        for axis, n, margin in zip(self.axes, self.shape, self.margins, strict=True):
            if margin:
                size = list(x.shape)
                size[axis] = n
                x = x.new_zeros(size).index_add(axis, reflected(n, margin, x.device), x)
        return x

    def crop(self, x: Tensor) -> Tensor:
        for axis, n, margin in zip(self.axes, self.shape, self.margins, strict=True):
            x = x.narrow(axis, margin, n)
        return x

    def embed(self, y: Tensor) -> Tensor:
        """The adjoint of ``crop``."""
        margins = [m for margin in reversed(self.margins) for m in (margin, margin)]
        return torch.nn.functional.pad(y, margins)

    @cached_property
    def spectrum(self) -> Spectrum | None:
        if self.boundary == "circular":
            return self.periodic_spectrum()
        every_axis = range(self.kernel.ndim)
        symmetric = all(torch.equal(self.kernel, self.kernel.flip(axis)) for axis in every_axis)
        return self.cosine_spectrum() if symmetric and not self.kernel.is_complex() else None

    def periodic_spectrum(self) -> Spectrum:
        singular, axes = self.response.abs(), self.axes
        positive = singular > 0
        phase = torch.where(positive, self.response / singular.where(positive, 1.0), 1.0)
        return Spectrum(
            singular,
            analyse=lambda x: hartley(x, axes),
            synthesise=lambda c: inverse_hartley(c, axes),
            project=lambda y: hartley(filtered(y, phase.conj(), axes), axes),
            embed=lambda c: filtered(inverse_hartley(c, axes), phase, axes),
        )

    def cosine_spectrum(self) -> Spectrum:
        """For a symmetric kernel: eigenvalues Σⱼ k(j) cos(π j m/n) in the DCT-II."""
        values = self.kernel.double()
        for n in self.shape:
            length = values.shape[0]
            offsets = torch.arange(length, dtype=torch.float64, device=values.device) - length // 2
            frequencies = torch.arange(n, dtype=torch.float64, device=values.device)
            table = torch.cos(math.pi / n * frequencies[:, None] * offsets)
            # the first axis is consumed and its transform appended, so that all take their turn
            values = torch.tensordot(values, table, dims=([0], [1]))
        sign, axes = torch.where(values < 0, -1.0, 1.0), self.axes
        return Spectrum(
            values.abs(),
            analyse=lambda x: cosine(x, axes),
            synthesise=lambda c: inverse_cosine(c, axes),
            project=lambda y: real_as(sign, y) * cosine(y, axes),
            embed=lambda c: inverse_cosine(real_as(sign, c) * c, axes),
        )


def reflected(n: int, margin: int, device: torch.device) -> Tensor:
    """Indices into n samples continued by half-sample reflection, as often as needed."""
    place = torch.arange(-margin, n + margin, device=device) % (2 * n)
    return torch.where(place < n, place, 2 * n - 1 - place)


def real_as(value: Tensor, x: Tensor) -> Tensor:
    """``value`` on the device and in the real precision of x."""
    return value.to(device=x.device, dtype=x.real.dtype if x.is_complex() else x.dtype)
