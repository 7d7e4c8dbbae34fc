"""Operators: how a measurement arises from data, y ~ p(· | A(x)).

The contract is small and structural: ``operator(x)`` and ``operator.likelihood``. What else an
operator can do is discovered where it is present,

    adjoint, pinv, spectrum, solve, prox, draw,

and where it is absent ``Linear`` supplies it from ``__call__`` and ``adjoint`` by conjugate
gradients, per item. Batch axis first; complex data are complex tensors and ``adjoint`` is the
conjugate transpose.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sfumato.inverse.likelihoods import Gaussian, Likelihood
from sfumato.inverse.spectra import Spectrum
from sfumato.linalg import conjugate_gradient
from sfumato.noise import Streams

__all__ = ["Composed", "FromFunction", "Linear", "Operator", "Scaled", "Spectrum"]


class Operator(ABC):
    """y ~ likelihood(A(x)).

    Attributes:
        likelihood: p(y | A(x)); its units are those of y.
    """

    likelihood: Likelihood

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """A(x), ``[batch, *x] -> [batch, *y]``, without noise; differentiable."""

    def data_shape(self, y_shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of x (with batch axis) for a measurement of shape ``y_shape`` (with batch axis)."""
        return tuple(y_shape)

    @property
    def support(self) -> Tensor | None:
        """1 where y holds measured numbers and 0 where it is padding, broadcastable to y.

        ``None`` says that all of y is measured. What y holds outside the support is never used.
        """
        return None

    def observed(self, y: Tensor) -> int:
        """How many numbers of one measurement carry information (the degrees of freedom of χ²)."""
        if self.support is None:
            return y[0].numel()
        return int(self.support.expand(y.shape[1:]).count_nonzero())

    def restrict(self, y: Tensor) -> Tensor:
        """y with zeros outside the support."""
        if self.support is None:
            return y
        return torch.where(self.support.to(y.device) != 0, y, 0)

    def measure(self, x: Tensor, *, seed: int = 0, first: int = 0) -> Tensor:
        """Simulates a measurement of each item, with noise."""
        streams = Streams.count(seed, x.shape[0], first=first).spawn("measurement")
        return self.restrict(self.likelihood.sample(self(x), streams))

    def linearise(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """A(x), and the map v ↦ A'(x)* v."""
        with torch.enable_grad():
            at = x.detach().requires_grad_()
            z = self(at)

        def vjp(v: Tensor) -> Tensor:
            return torch.autograd.grad(z, at, v, retain_graph=True)[0]

        return z.detach(), vjp

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        """A'(x) v."""
        value: Tensor = torch.func.jvp(self.__call__, (x,), (v,))[1]
        return value

    def __matmul__(self, inner: Operator) -> Operator:
        """``outer @ inner``: first ``inner``, then this; the noise is this operator's."""
        if isinstance(self, Linear) and isinstance(inner, Linear):
            return Composed(self, inner)
        return Chained(self, inner)

    def with_likelihood(self, likelihood: Likelihood) -> Operator:
        """The same operator with other noise."""
        return replace(self, likelihood=likelihood)  # type: ignore[type-var]


class Linear(Operator):
    """An operator with an adjoint; the rest follows by conjugate gradients per item.

    ``Σ`` below is the noise variance; ``V`` is a variance of x: a number, or a tensor that
    broadcasts to x.
    """

    @abstractmethod
    def adjoint(self, y: Tensor) -> Tensor:
        """A* y."""

    def linearise(self, x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return self(x), self.adjoint

    def jvp(self, x: Tensor, v: Tensor) -> Tensor:
        return self(v)

    @property
    def spectrum(self) -> Spectrum | None:
        """Singular value decomposition, where one is known in closed form."""
        return None

    def pinv(self, y: Tensor) -> Tensor:
        """A⁺ y: the smallest x among those with the smallest ‖A x − y‖."""
        if self.spectrum is not None:
            return self.spectrum.pinv(y)
        # the normal equations square the condition of A, which single precision does not bear
        wide = torch.complex128 if y.is_complex() else torch.float64
        solution = conjugate_gradient(
            lambda x: self.adjoint(self(x)),
            self.adjoint(self.restrict(y).to(wide)), tolerance=1e-7, iterations=500,
        )  # fmt: skip
        return solution.to(y.dtype)

    def solve(
        self,
        v: Tensor,
        variance: Tensor,
        noise: Tensor,
        *,
        tolerance: float = 1e-5,
        iterations: int = 100,
    ) -> Tensor:
        """(A V A* + Σ)⁻¹ v, on the part of v that A can reach.

        V and Σ are numbers, one number per item (all other axes of length 1), or arrays. Closed
        form where there is a spectrum and both are numbers; else conjugate gradients, with the
        spectrum at V's mean as preconditioner if it is known.
        """
        spectrum, v = self.spectrum, self.restrict(v)
        items = v.shape[0]
        if spectrum is None or not is_number(noise, items):
            return conjugate_gradient(
                lambda u: self(variance * self.adjoint(u)) + noise * u,
                v, tolerance=tolerance, iterations=iterations,
            )  # fmt: skip
        if is_number(variance, items):
            return spectrum.solve(v, variance, noise)
        batched = variance.shape[0] == items
        typical = variance.flatten(1).mean(dim=1) if batched else variance.mean()
        return conjugate_gradient(
            lambda u: self(variance * self.adjoint(u)) + noise * u,
            spectrum.reach(v), tolerance=tolerance, iterations=iterations,
            precondition=lambda u: spectrum.solve(u, typical, noise),
        )  # fmt: skip

    def posterior_mean(
        self,
        centre: Tensor,
        y: Tensor,
        variance: Tensor,
        noise: Tensor,
        *,
        tolerance: float = 1e-5,
        iterations: int = 100,
    ) -> Tensor:
        """Mean of x ~ N(c, V) given y = A x + N(0, Σ): c + V A*(A V A* + Σ)⁻¹(y − A c).

        This is also prox of ½‖y − A x‖²/Σ at ``centre``.
        """
        weights = self.solve(
            y - self(centre), variance, noise, tolerance=tolerance, iterations=iterations
        )
        return centre + variance * self.adjoint(weights)

    def draw(
        self, centre: Tensor, y: Tensor, variance: Tensor, noise: Tensor, streams: Streams
    ) -> Tensor:
        """An exact draw of x ~ N(centre, V) given y, by perturb and solve.

        (Papandreou & Yuille, 2010.)
        """
        x = centre + variance.sqrt() * streams.normal(centre)
        return self.posterior_mean(x, y + noise.sqrt() * streams.normal(y), variance, noise)


@dataclass(frozen=True, eq=False)
class FromFunction(Linear):
    """A linear function as an operator; the adjoint comes from automatic differentiation.

    Args:
        function: x ↦ A x on batches, built of differentiable torch operations.
        shape: Shape of one x, without the batch axis.
        likelihood: Noise.
        dtype: dtype of x (complex dtypes are allowed).
    """

    function: Callable[[Tensor], Tensor]
    shape: tuple[int, ...]
    likelihood: Likelihood = field(default_factory=Gaussian)
    dtype: torch.dtype | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return self.function(x)

    def data_shape(self, y_shape: Sequence[int]) -> tuple[int, ...]:
        return (y_shape[0], *self.shape)

    def adjoint(self, y: Tensor) -> Tensor:
        shape, dtype = (y.shape[0], *self.shape), self.dtype or y.dtype
        zero = torch.zeros(shape, dtype=dtype, device=y.device, requires_grad=True)
        with torch.enable_grad():
            z = self.function(zero)
        return torch.autograd.grad(z, zero, y)[0]


@dataclass(frozen=True, eq=False)
class Chained(Operator):
    """First ``inner``, then ``outer``."""

    outer: Operator
    inner: Operator

    @property
    def likelihood(self) -> Likelihood:  # type: ignore[override]
        return self.outer.likelihood

    @property
    def support(self) -> Tensor | None:
        return self.outer.support

    def __call__(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def data_shape(self, y_shape: Sequence[int]) -> tuple[int, ...]:
        return self.inner.data_shape(self.outer.data_shape(y_shape))

    def with_likelihood(self, likelihood: Likelihood) -> Operator:
        return replace(self, outer=self.outer.with_likelihood(likelihood))


@dataclass(frozen=True, eq=False)
class Composed(Chained, Linear):
    """Two linear operators, one after the other."""

    outer: Linear
    inner: Linear

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))


@dataclass(frozen=True, eq=False)
class Scaled(Linear):
    """A diag(scale): the operator for data in other units.

    Args:
        inner: A.
        scale: Broadcastable to x without the batch axis.
    """

    inner: Linear
    scale: Tensor
    likelihood: Likelihood

    def __call__(self, x: Tensor) -> Tensor:
        return self.inner(self.scale.to(x.device) * x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.scale.to(y.device).conj() * self.inner.adjoint(y)

    @property
    def support(self) -> Tensor | None:
        return self.inner.support

    def data_shape(self, y_shape: Sequence[int]) -> tuple[int, ...]:
        return self.inner.data_shape(y_shape)


def is_number(value: Tensor, items: int) -> bool:
    """Whether a variance is one number, or one number per item."""
    return value.numel() == 1 or (value.shape[0] == items and value[0].numel() == 1)
