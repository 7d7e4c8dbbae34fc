"""Blur kernels: what one bright point becomes. All are of odd size and sum to 1."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import (
    InvalidOptionError,
    NotFiniteError,
    ShapeError,
    UnreadableFileError,
)
from sfumato_image.operators.inputs import read_picture

__all__ = ["from_file", "gaussian", "motion"]

REACH = 4.0  # standard deviations; beyond lies 6·10⁻⁵ of the weight
LARGEST = 1023
FINE = 64  # points per pixel along a path


def gaussian(sigma: float) -> Tensor:
    """A Gaussian of standard deviation ``sigma`` pixels."""
    radius = max(1, math.ceil(REACH * sigma))
    line = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    line = line / line.sum()
    return torch.outer(line, line)


def motion(length: float, angle: float) -> Tensor:
    """A straight path of ``length`` pixels at ``angle`` degrees, anticlockwise from the right.

    Points along the path are shared among their four nearest pixels.
    """
    half = (length - 1) / 2
    count = 2 * math.ceil(half * FINE) + 1
    along = torch.linspace(-half, half, count, dtype=torch.float64)
    turn = math.radians(angle)
    columns, rows = along * math.cos(turn), -along * math.sin(turn)
    radius = max(1, math.ceil(half))
    size = 2 * radius + 1
    kernel = torch.zeros(size * size, dtype=torch.float64)
    top, left = rows.floor(), columns.floor()
    down, right = rows - top, columns - left
    for row, row_weight in ((top, 1 - down), (top + 1, down)):
        for column, column_weight in ((left, 1 - right), (left + 1, right)):
            weight = row_weight * column_weight
            i = (row + radius).clamp(0, size - 1)  # beyond the edge the weight is 0
            j = (column + radius).clamp(0, size - 1)
            kernel.index_add_(0, (i * size + j).long(), weight)
    return symmetric(kernel.reshape(size, size) / kernel.sum())


def symmetric(kernel: Tensor) -> Tensor:
    """Exactly symmetric where it is so up to rounding, which makes closed forms possible."""
    for axes in ((0, 1), (0,), (1,)):
        mirrored = kernel.flip(axes)
        if torch.allclose(kernel, mirrored, atol=1e-12):
            kernel = (kernel + mirrored) / 2
    return kernel


def from_file(path: Path | str) -> Tensor:
    """A kernel from a NumPy file (two axes) or a picture, scaled to sum 1.

    Raises:
        UnreadableFileError: If the file is missing or neither.
        ShapeError: If it has an even side, or is larger than 1023×1023.
        NotFiniteError: If it holds NaN or infinity.
        InvalidOptionError: If its sum is zero or negative.
    """
    values = numbers(path)
    name = f"kernel '{path}'"
    if values.ndim != 2 or any(n % 2 == 0 or n > LARGEST for n in values.shape):
        raise ShapeError(
            name, values.shape, f"two odd sides up to {LARGEST}, so that it has a middle; "
            "add or cut off a row or column",
        )  # fmt: skip
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        raise NotFiniteError(name, bad, values.numel())
    total = float(values.sum())
    if total <= 1e-12 * float(values.abs().sum()):
        what = "all of it is zero" if not bool(values.any()) else f"it sums to {total:.3g}"
        raise InvalidOptionError(name, what, "a blur has a positive sum")
    return symmetric(values / total)


def numbers(path: Path | str) -> Tensor:
    if Path(path).suffix.lower() != ".npy":
        return read_picture(path, "deblur").data.double().mean(dim=0)
    try:
        values = np.load(path, allow_pickle=False)
        return torch.from_numpy(np.array(values, dtype=np.float64))
    except FileNotFoundError as error:
        raise UnreadableFileError(path, "there is no such file") from error
    except (OSError, ValueError, TypeError) as error:
        raise UnreadableFileError(path, "it holds no array of numbers") from error
