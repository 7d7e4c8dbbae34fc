"""Several measurements of one x, taken together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.errors import UnsupportedError
from sfumato.inverse.likelihoods import Gaussian, Likelihood
from sfumato.inverse.operators import Linear

__all__ = ["Stacked"]


@dataclass(frozen=True, eq=False)
class Stacked(Linear):
    """Several measurements of one x: the measurements are flattened and concatenated.

    Args:
        operators: Linear operators with Gaussian likelihoods.
        shapes: Shape of each measurement, without the batch axis.
    """

    operators: tuple[Linear, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def likelihood(self) -> Likelihood:  # type: ignore[override]
        parts = []
        for operator, shape in zip(self.operators, self.shapes, strict=True):
            variance = operator.likelihood.variance
            if variance is None:
                raise UnsupportedError(
                    "stack", "Gaussian noise in every part",
                    f"one has {type(operator.likelihood).__name__}",
                )  # fmt: skip
            parts.append(variance.sqrt().expand(shape).flatten())
        return Gaussian(torch.cat(parts))

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([operator(x).flatten(1) for operator in self.operators], dim=1)

    def adjoint(self, y: Tensor) -> Tensor:
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = torch.split(y, sizes, dim=1)
        terms = [
            operator.adjoint(part.reshape(-1, *shape))
            for operator, part, shape in zip(self.operators, parts, self.shapes, strict=True)
        ]
        return torch.stack(terms).sum(dim=0)

    def data_shape(self, y_shape: Sequence[int]) -> tuple[int, ...]:
        return self.operators[0].data_shape((y_shape[0], *self.shapes[0]))
