"""Operators from and to deepinv, whose ``LinearPhysics`` has the same maps under other names."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from sfumato.errors import MissingDependencyError, UnsupportedError
from sfumato.inverse.likelihoods import Gaussian, Likelihood, Poisson
from sfumato.inverse.operators import Linear, Operator

__all__ = ["FromDeepinv", "LinearFromDeepinv", "from_deepinv", "to_deepinv"]


@dataclass(frozen=True, eq=False)
class FromDeepinv(Operator):
    """A deepinv ``Physics`` as an operator.

    Args:
        physics: What is called as ``physics.A(x)``.
        shape: Shape of one x, without the batch axis.
        likelihood: Noise.
    """

    physics: Any
    shape: tuple[int, ...]
    likelihood: Likelihood = field(default_factory=Gaussian)

    def __call__(self, x: Tensor) -> Tensor:
        y: Tensor = self.physics.A(x)
        return y

    def data_shape(self, y_shape: Sequence[int]) -> tuple[int, ...]:
        return (y_shape[0], *self.shape)


@dataclass(frozen=True, eq=False)
class LinearFromDeepinv(FromDeepinv, Linear):
    """A deepinv ``LinearPhysics`` as an operator."""

    def adjoint(self, y: Tensor) -> Tensor:
        x: Tensor = self.physics.A_adjoint(y)
        return x


def from_deepinv(
    physics: Any, shape: tuple[int, ...], *, likelihood: Likelihood | None = None
) -> Operator:
    """Wraps a deepinv physics.

    Args:
        physics: A ``deepinv.physics.Physics``; a ``LinearPhysics`` becomes ``Linear``.
        shape: Shape of one x, such as (3, 64, 64).
        likelihood: Noise; taken from the physics' ``noise_model`` if not given.

    Raises:
        MissingDependencyError: If deepinv is not installed.
        UnsupportedError: If the noise model is neither Gaussian nor Poisson nor absent.
    """
    library = deepinv()
    noise = read_noise(library, physics) if likelihood is None else likelihood
    kind = LinearFromDeepinv if isinstance(physics, library.physics.LinearPhysics) else FromDeepinv
    return kind(physics, shape, noise)


def read_noise(library: Any, physics: Any) -> Likelihood:
    model = getattr(physics, "noise_model", None)
    kinds = library.physics
    if isinstance(model, kinds.GaussianNoise):
        return Gaussian(float(model.sigma))
    if isinstance(model, kinds.PoissonNoise):
        if not getattr(model, "normalize", True):
            raise UnsupportedError(
                "from_deepinv", "Poisson noise that is normalised", "normalize is False",
                ["likelihood=..."],
            )  # fmt: skip
        return Poisson(1 / float(model.gain))
    if model is None or type(model).__name__ in {"ZeroNoise", "NoiseModel"}:
        return Gaussian(0.0)
    raise UnsupportedError(
        "from_deepinv", "Gaussian, Poisson or no noise", f"found {type(model).__name__}",
        ["likelihood=..."],
    )  # fmt: skip


def to_deepinv(operator: Operator) -> Any:
    """An operator as a deepinv physics, with its noise where that is Gaussian with one σ.

    Raises:
        MissingDependencyError: If deepinv is not installed.
    """
    library = deepinv()
    variance = operator.likelihood.variance
    noise = library.physics.ZeroNoise()
    if variance is not None and variance.numel() == 1 and float(variance) > 0:
        noise = library.physics.GaussianNoise(sigma=float(variance) ** 0.5)

    def forward(x: Tensor, **_: Any) -> Tensor:
        return operator(x)

    if not isinstance(operator, Linear):
        return library.physics.Physics(A=forward, noise_model=noise)
    linear = operator

    def adjoint(y: Tensor, **_: Any) -> Tensor:
        return linear.adjoint(y)

    return library.physics.LinearPhysics(A=forward, A_adjoint=adjoint, noise_model=noise)


def deepinv() -> Any:
    try:
        library = importlib.import_module("deepinv")
    except ImportError as error:
        raise MissingDependencyError("deepinv interoperability", ["deepinv"], "deepinv") from error
    return library
