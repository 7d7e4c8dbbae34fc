"""Lower resolution by an integer factor: one small matrix per axis.

Averaging and antialiased bicubic interpolation are separable: along each axis they are a matrix W
of shape [n/f, n], and the operator is the Kronecker product of these. So are its adjoint and, with
W = U diag(s) V* per axis, its singular value decomposition, for any treatment of the boundary. With
a periodic boundary this is the closed form by folding of aliased frequencies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.inverse.likelihoods import Gaussian, Likelihood
from sfumato.inverse.operators import Linear
from sfumato.inverse.spectra import Spectrum

__all__ = ["Downsample"]


@dataclass(frozen=True, eq=False)
class Downsample(Linear):
    """Reduces the last axes of x by an integer factor.

    Args:
        factor: f ≥ 2.
        shape: Sizes of the reduced axes of x (1 to 3 of them), multiples of f.
        kernel: ``"box"`` is the mean of f samples along each axis; ``"bicubic"`` the antialiased
            bicubic interpolation of Pillow and torch (Keys, 1981, a = −½, stretched by f).
        boundary: Where the bicubic kernel reaches outside: ``"edge"`` leaves the outside out and
            scales the rest to sum 1, as Pillow and torch do; ``"reflect"``; ``"circular"``.
        likelihood: Noise.

    Raises:
        ShapeError: If ``factor`` does not divide the sizes.
        InvalidOptionError: If a name or the factor is unknown.
    """

    factor: int
    shape: tuple[int, ...]
    kernel: str = "bicubic"
    boundary: str = "edge"
    likelihood: Likelihood = field(default_factory=Gaussian)

    def __post_init__(self) -> None:
        if self.factor < 2:
            raise InvalidOptionError("downsampling", f"factor={self.factor}", "use 2 or more")
        if self.kernel not in {"box", "bicubic"}:
            raise InvalidOptionError(
                "downsampling", f"kernel={self.kernel!r}", "use 'box' or 'bicubic'"
            )
        if self.boundary not in {"edge", "reflect", "circular"}:
            raise InvalidOptionError(
                "downsampling", f"boundary={self.boundary!r}", "use 'edge', 'reflect' or 'circular'"
            )
        if not 1 <= len(self.shape) <= 3 or any(n < 1 or n % self.factor for n in self.shape):
            raise ShapeError("data", self.shape, f"one to three sizes, multiples of {self.factor}")

    @property
    def reduced(self) -> tuple[int, ...]:
        """Sizes of the reduced axes of y."""
        return tuple(n // self.factor for n in self.shape)

    @cached_property
    def matrices(self) -> tuple[Tensor, ...]:
        """W of each axis, float64."""
        return tuple(reduction(n, self.factor, self.kernel, self.boundary) for n in self.shape)

    def __call__(self, x: Tensor) -> Tensor:
        self.check("data", x, self.shape)
        return along_axes(self.matrices, x)

    def adjoint(self, y: Tensor) -> Tensor:
        self.check("measurement", y, self.reduced)
        return along_axes([matrix.mT for matrix in self.matrices], y)

    def check(self, what: str, x: Tensor, sizes: tuple[int, ...]) -> None:
        found = tuple(x.shape[-len(sizes) :])
        if found != sizes or x.ndim <= len(sizes):
            raise ShapeError(what, found, "×".join(map(str, sizes)) + " after a batch axis")

    def data_shape(self, y_shape: Sequence[int]) -> tuple[int, ...]:
        return (*y_shape[: len(y_shape) - len(self.shape)], *self.shape)

    @cached_property
    def spectrum(self) -> Spectrum:
        parts = {}
        for matrix in self.matrices:
            if matrix.shape not in parts:
                parts[matrix.shape] = torch.linalg.svd(matrix, full_matrices=False)
        left = [parts[matrix.shape][0] for matrix in self.matrices]
        right = [parts[matrix.shape][2] for matrix in self.matrices]
        singular = torch.ones((), dtype=torch.float64)
        for matrix in self.matrices:
            singular = singular[..., None] * parts[matrix.shape][1]
        return Spectrum(
            singular,
            analyse=lambda x: along_axes(right, x),
            synthesise=lambda c: along_axes([v.mT for v in right], c),
            project=lambda y: along_axes([u.mT for u in left], y),
            embed=lambda c: along_axes(left, c),
        )


def along_axes(matrices: Sequence[Tensor], x: Tensor) -> Tensor:
    """Applies one matrix to each of the last axes."""
    for axis, matrix in zip(range(-len(matrices), 0), matrices, strict=True):
        moved = x.movedim(axis, -1)
        x = (moved @ matrix.to(device=x.device, dtype=x.dtype).mT).movedim(-1, axis)
    return x


def reduction(n: int, factor: int, kernel: str, boundary: str) -> Tensor:
    """W for one axis, ``[n / factor, n]``."""
    count = n // factor
    reach = factor // 2 if kernel == "box" else 2 * factor
    centre = (torch.arange(count, dtype=torch.float64) + 0.5) * factor - 0.5
    place = torch.arange(-reach, n + reach)
    distance = (place - centre[:, None]).abs() / factor
    weight = (distance < 0.5).double() if kernel == "box" else cubic(distance)
    inside = (place >= 0) & (place < n)
    if boundary == "edge":
        weight = weight * inside
    weight = weight / weight.sum(dim=1, keepdim=True)
    if boundary == "reflect":
        folded = place % (2 * n)
        place = torch.where(folded < n, folded, 2 * n - 1 - folded)
    return torch.zeros(count, n, dtype=torch.float64).index_add(1, place % n, weight)


def cubic(distance: Tensor, a: float = -0.5) -> Tensor:
    """Keys' cubic convolution kernel at distances ≥ 0 (Keys, 1981, eq. 15)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
