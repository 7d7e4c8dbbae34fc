"""Units: the map between a domain's physical values and what a network sees.

    x_model = (x − shift)/scale

Operators and noise levels speak physical units, solvers work in model units, and this is the only
place where one becomes the other. The codec is fixed when a prior is made; it never looks at the
data that is being reconstructed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.inverse.likelihoods import Affine as AffineLikelihood
from sfumato.inverse.likelihoods import Gaussian
from sfumato.inverse.operators import Chained, Linear, Operator, Scaled

__all__ = ["Affine"]


@dataclass(frozen=True)
class Affine:
    """x_model = (x − shift)/scale.

    Args:
        shift: One number, or one per channel.
        scale: One number, or one per channel; not 0.
    """

    shift: float | tuple[float, ...] = 0.0
    scale: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        for name in ("shift", "scale"):
            value = getattr(self, name)
            many = isinstance(value, Sequence)
            object.__setattr__(self, name, tuple(map(float, value)) if many else float(value))
        scale = torch.as_tensor(self.scale)
        if not bool((scale != 0).all() and torch.isfinite(scale).all()):
            raise InvalidOptionError("codec", f"scale={self.scale}", "use finite numbers, not 0")

    def encode(self, x: Float[Tensor, "batch channels *space"]) -> Tensor:
        """Physical to model units."""
        return (x - column(self.shift, x)) / column(self.scale, x)

    def decode(self, x: Float[Tensor, "batch channels *space"]) -> Tensor:
        """Model to physical units."""
        return column(self.scale, x) * x + column(self.shift, x)

    def spread(self, std: Tensor) -> Tensor:
        """A standard deviation in model units, in physical units."""
        scale = column(self.scale, std)
        return (scale.abs() if isinstance(scale, Tensor) else abs(scale)) * std

    def to_model(self, operator: Operator, y: Tensor) -> tuple[Operator, Tensor]:
        """The same measurement as a problem in model units.

        For a linear A with Gaussian noise and one scale, A stays as it is, with its closed forms:
        A x + n = y becomes A x_m + n/scale = (y − A shift)/scale.
        """
        if isinstance(operator, Linear):
            blank = y.new_zeros(operator.data_shape(tuple(y.shape)))
            offset = operator(blank + column(self.shift, blank))
            likelihood = operator.likelihood
            if isinstance(likelihood, Gaussian):
                scale = column(self.scale, blank)
                if isinstance(scale, Tensor):
                    return Scaled(operator, scale[0], likelihood), y - offset
                moved = operator.with_likelihood(likelihood.rescaled(abs(scale)))
                return moved, (y - offset) / scale
            if isinstance(self.scale, float):
                other = AffineLikelihood(likelihood, self.scale, offset, keep_y=True)
                return operator.with_likelihood(other), y
        return Chained(operator, Decoded(self)), y


@dataclass(frozen=True, eq=False)
class Decoded(Operator):
    """The codec's ``decode`` as an operator."""

    codec: Affine
    likelihood: Gaussian = Gaussian()

    def __call__(self, x: Tensor) -> Tensor:
        return self.codec.decode(x)


def column(value: float | tuple[float, ...], x: Tensor) -> Tensor | float:
    """One number per channel, shaped to meet ``[batch, channels, *space]``."""
    if not isinstance(value, tuple):
        return value
    real = x.real.dtype if x.is_complex() else x.dtype
    numbers = torch.tensor(value, dtype=real, device=x.device)
    return numbers.reshape(1, -1, *(1,) * (x.ndim - 2))
