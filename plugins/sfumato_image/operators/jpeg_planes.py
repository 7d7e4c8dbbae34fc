"""The linear part of a JPEG encoder: colours, chroma subsampling, block cosine transform.

    A = D S M R

R turns an upright picture to its stored orientation, M mixes the colours, S averages h×v pixels of
a chroma plane, D is the orthonormal DCT-II of 8×8 blocks. Sides that are no multiples of a block
are continued as encoders do: columns by their last pixel before S, rows likewise up to a full row
of the subsampled plane, and then by the last row of that plane.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.inverse.likelihoods import Gaussian, Likelihood
from sfumato.inverse.operators import Linear
from sfumato.linalg import conjugate_gradient

__all__ = ["MATRICES", "BlockCosine"]

Rows = tuple[tuple[float, ...], ...]

MATRICES: dict[str, Rows] = {
    "grey": ((1.0,),),
    "rgb": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "ycbcr": (  # JFIF 1.02, without the offset of 128
        (0.299, 0.587, 0.114),
        (-0.299 / 1.772, -0.587 / 1.772, 0.5),
        (0.5, -0.587 / 1.402, -0.114 / 1.402),
    ),
}

# EXIF orientation → axes of [.., height, width] to flip, after a transposition from 5 on, to make
# a stored picture upright
FLIPS: dict[int, tuple[int, ...]] = {
    1: (), 2: (-1,), 3: (-2, -1), 4: (-2,), 5: (), 6: (-1,), 7: (-2, -1), 8: (-2,),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class BlockCosine(Linear):
    """The linear part of a JPEG encoder. y lists the planes, each block by block, row-major.

    Args:
        height: Of the stored picture.
        width: Likewise.
        matrix: Colour mixing, planes × channels.
        factors: For each plane, picture rows and columns per row and column of the plane.
        orientation: EXIF orientation, 1 to 8, by which x has been made upright.
        likelihood: Noise of the coefficients, in units of white = 1.
        step: Distance of neighbouring values of each element of y, where y comes from a file.
    """

    height: int
    width: int
    matrix: Rows
    factors: tuple[tuple[int, int], ...]
    orientation: int = 1
    likelihood: Likelihood = Gaussian()
    step: Tensor | None = None

    def data_shape(self, y_shape: Sequence[int]) -> tuple[int, ...]:
        sides = (self.height, self.width)
        return (y_shape[0], len(self.matrix), *(sides[::-1] if self.orientation >= 5 else sides))

    def blocks(self, plane: int) -> tuple[int, int]:
        """Rows and columns of blocks of a plane."""
        v, h = self.factors[plane]
        return -(-self.height // (8 * v)), -(-self.width // (8 * h))

    def split(self, y: Tensor) -> tuple[Tensor, ...]:
        """The parts of y, plane by plane, ``[batch, n]``."""
        sizes = [64 * math.prod(self.blocks(i)) for i in range(len(self.factors))]
        return torch.split(y, sizes, dim=1)

    def upright(self, x: Tensor) -> Tensor:
        """A picture as it is stored, turned upright."""
        x = x.mT if self.orientation >= 5 else x
        return x.flip(FLIPS[self.orientation])

    def __call__(self, x: Tensor) -> Tensor:
        x = x.flip(FLIPS[self.orientation])
        x = x.mT if self.orientation >= 5 else x
        mixed = torch.einsum("pc,bchw->pbhw", self.mixing(x), x)
        parts = [self.encode(plane, index) for index, plane in enumerate(mixed)]
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def adjoint(self, y: Tensor) -> Tensor:
        planes = [self.encode_adjoint(part, i) for i, part in enumerate(self.split(y))]
        return self.upright(torch.einsum("pc,pbhw->bchw", self.mixing(y), torch.stack(planes)))

    def solve(
        self,
        v: Tensor,
        variance: Tensor,
        noise: Tensor,
        *,
        tolerance: float = 1e-5,
        iterations: int = 100,
    ) -> Tensor:
        """(A V A* + Σ)⁻¹ v by conjugate gradients, preconditioned by the diagonal of the matrix.

        The steps of a table differ by 100 and the entries of Σ by 10⁴, so plain conjugate gradients
        do not converge; relative to the diagonal only the colours couple, weakly.
        """
        diagonal = self.diagonal(variance, v.shape[0]).to(v) + noise
        return conjugate_gradient(
            lambda u: self(variance * self.adjoint(u)) + noise * u,
            v, tolerance=tolerance, iterations=iterations,
            precondition=lambda u: u / diagonal,
        )  # fmt: skip

    def diagonal(self, variance: Tensor, items: int) -> Tensor:
        """The diagonal of A V A*, with V taken as constant in each block."""
        shape = self.data_shape((items,))
        spread = variance.expand(shape).flip(FLIPS[self.orientation])
        spread = spread.mT if self.orientation >= 5 else spread
        mixed = torch.einsum("pc,bchw->pbhw", self.mixing(spread) ** 2, spread)
        parts: list[Tensor] = []
        for plane, (v, h) in zip(mixed, self.factors, strict=True):
            rows, columns = self.blocks(len(parts))
            whole = extend(extend(plane, -1, 8 * h * columns), -2, 8 * v * rows)
            means = whole.reshape(items, rows, 8 * v, columns, 8 * h).mean(dim=(2, 4)) / (v * h)
            parts.append(means[..., None].expand(-1, -1, -1, 64).flatten(1))
        return torch.cat(parts, dim=1)

    def mixing(self, like: Tensor) -> Tensor:
        return torch.tensor(self.matrix, dtype=like.dtype, device=like.device)

    def encode(self, x: Tensor, plane: int) -> Tensor:
        """``[batch, height, width]`` to blocks of coefficients ``[batch, rows, columns, 8, 8]``."""
        (v, h), (rows, columns) = self.factors[plane], self.blocks(plane)
        x = extend(x, -1, 8 * h * columns)
        x = extend(x, -2, v * -(-self.height // v))
        x = x.reshape(*x.shape[:-1], -1, h).mean(-1)
        x = x.reshape(x.shape[0], -1, v, x.shape[-1]).mean(-2)
        x = extend(x, -2, 8 * rows)
        d = cosine_matrix(x)
        return d @ x.reshape(-1, rows, 8, columns, 8).transpose(-3, -2) @ d.T

    def encode_adjoint(self, y: Tensor, plane: int) -> Tensor:
        """The adjoint of ``encode``, step by step in reverse."""
        (v, h), (rows, columns) = self.factors[plane], self.blocks(plane)
        d = cosine_matrix(y)
        x = d.T @ y.reshape(-1, rows, columns, 8, 8) @ d
        x = x.transpose(-3, -2).reshape(-1, 8 * rows, 8 * columns)
        x = fold(x, -2, -(-self.height // v))
        x = x.repeat_interleave(v, dim=-2) / v
        x = x.repeat_interleave(h, dim=-1) / h
        x = fold(x, -2, self.height)
        return fold(x, -1, self.width)


def extend(x: Tensor, axis: int, length: int) -> Tensor:
    """Repeats the last entry along an axis up to ``length``."""
    missing = length - x.shape[axis]
    if missing == 0:
        return x
    last = x.narrow(axis, x.shape[axis] - 1, 1)
    return torch.cat([x, last.expand(*spread(x, axis, missing))], dim=axis)


def fold(x: Tensor, axis: int, length: int) -> Tensor:
    """The adjoint of ``extend``: what lies beyond is added to the last entry kept."""
    missing = x.shape[axis] - length
    if missing == 0:
        return x
    kept = x.narrow(axis, 0, length - 1)
    last = x.narrow(axis, length - 1, missing + 1).sum(dim=axis, keepdim=True)
    return torch.cat([kept, last], dim=axis)


def spread(x: Tensor, axis: int, count: int) -> list[int]:
    shape = list(x.shape)
    shape[axis] = count
    return shape


def cosine_matrix(like: Tensor) -> Tensor:
    """The orthonormal 8×8 DCT-II matrix."""
    n = torch.arange(8, dtype=torch.float64)
    matrix = torch.cos(math.pi / 8 * (n + 0.5) * n[:, None]) / 2
    matrix[0] /= math.sqrt(2)
    return matrix.to(like)
