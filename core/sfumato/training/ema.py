"""Exponential moving averages of weights.

With θ_k the weights after step k and d_k its averaging constant,

    θ̄_k = d_k θ̄_{k−1} + (1 − d_k) θ_k,

so for a constant d the average is dⁿ θ₀ + (1 − d) Σ_k d^{n−k} θ_k.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from sfumato.errors import ShapeError, UnknownNameError

__all__ = ["EMA"]


class EMA:
    """The moving average of some parameters, which it watches but does not own.

    Args:
        parameters: Name → parameter. The average starts as a copy.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.parameters = dict(parameters)
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def update(self, decay: float) -> None:
        """Moves the average to where the parameters are now, by a share of ``1 − decay``."""
        if self.average:
            torch._foreach_lerp_(
                list(self.average.values()), list(self.parameters.values()), 1 - decay
            )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Puts the average in place of the parameters, and takes it out again."""
        kept = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.write(self.average)
        try:
            yield
        finally:
            self.write(kept)

    @torch.no_grad()
    def write(self, values: Mapping[str, Tensor]) -> None:
        """Sets the parameters."""
        for name, p in self.parameters.items():
            p.copy_(values[name])

    def load(self, average: Mapping[str, Tensor]) -> None:
        """Goes on from a stored average.

        Raises:
            UnknownNameError: If a name does not belong to these parameters.
            ShapeError: If a shape does not.
        """
        for name, value in average.items():
            if name not in self.average:
                raise UnknownNameError("parameter", name, self.average)
            if value.shape != self.average[name].shape:
                size = "×".join(map(str, self.average[name].shape))
                raise ShapeError(f"'{name}'", value.shape, size)
            self.average[name].copy_(value)
