"""A posterior to sample: a denoiser, an operator and a measurement, all in model units.

A ``Guide`` turns the prior's denoiser into the posterior's: E[x₀ | x_t] into E[x₀ | x_t, y]. By
Tweedie's formula every guidance is such a conditional mean,

    μ = x̂ + (σ²/α) ∇ ln p(y | x_t),

so any sampler can use it. A ``Solver`` draws x₀ given y: a guide with a sampler, or a driver with
a loop of its own (particles, time travel, split Gibbs, optimisation).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser, Estimate
from sfumato.errors import UnsupportedError
from sfumato.inverse.operators import Linear, Operator
from sfumato.noise import Streams
from sfumato.processes import Level
from sfumato.samplers.base import Step

__all__ = ["Callback", "Conditioned", "Deferred", "First", "Guide", "Problem", "Solver"]

Callback = Callable[[Step], Any]


@dataclass(frozen=True, eq=False)
class First:
    """What a solver has found out about the items of a problem, once for all of their samples.

    Args:
        estimate: A quick estimate of x₀ that depends on y alone, ``[batch, *x]``.
        start: σ/α at which sampling may start from it; ``None`` where it may not.
    """

    estimate: Tensor
    start: float | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """What a solver is given.

    Args:
        denoiser: The prior.
        operator: A and its likelihood, in model units.
        y: Measurement of each item, ``[batch, *y]``, in the operator's units; the dtype of the
            state follows from it.
        condition: What the prior is told besides.
        first: What ``Solver.prepare`` has found.

    Raises:
        UnsupportedError: If the prior's states are not signals in flat space, or its noise is not
            normal.
    """

    denoiser: Denoiser
    operator: Operator
    y: Float[Tensor, "batch *y"]
    condition: Condition = None
    first: First | None = None

    def __post_init__(self) -> None:
        process = self.denoiser.process
        if not (process.flat and process.normal):
            raise UnsupportedError(
                "an inverse problem", "signals in flat space under Gaussian noise",
                f"this prior's process is {type(process).__name__}", ["sample"],
            )  # fmt: skip

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the state, with batch axis."""
        return self.operator.data_shape(tuple(self.y.shape))

    @property
    def linear(self) -> Linear:
        """The operator as a linear one; the registry has checked that it is."""
        assert isinstance(self.operator, Linear)
        return self.operator

    def residual(self, z: Tensor) -> Tensor:
        """y − z where y is measured, 0 elsewhere."""
        return self.operator.restrict(self.y - z)

    @cached_property
    def noise(self) -> Tensor:
        """Variance of the Gaussian noise, of y's dtype and device; the registry has checked."""
        variance = self.operator.likelihood.variance
        assert variance is not None
        real = self.y.real.dtype if self.y.is_complex() else self.y.dtype
        return variance.to(device=self.y.device, dtype=real)

    def blank(self) -> Tensor:
        """Zeros with the shape, dtype and device of the state."""
        return self.y.new_zeros(self.shape)

    def posterior(self, guide: Guide) -> Conditioned:
        """The posterior's denoiser in a guide's approximation."""
        return Conditioned(self.denoiser, guide, self)

    def select(self, index: list[int]) -> Problem:
        """Some of the items."""
        condition = {
            key: value[index] if isinstance(value, Tensor) else value
            for key, value in (self.condition or {}).items()
        }
        first = self.first and replace(self.first, estimate=self.first.estimate[index])
        return replace(self, y=self.y[index], condition=condition or None, first=first)


class Deferred(Estimate):
    """An estimate with a draw of its own, whose mean is computed when it is first asked for.

    Mean and draw each cost one linear solve with backward passes inside; calibrated sampling needs
    the draw only.

    Args:
        compute: () ↦ mean.
        sampler: streams ↦ a draw.
    """

    def __init__(self, compute: Callable[[], Tensor], sampler: Callable[[Streams], Tensor]) -> None:
        for name in ("variance", "interpolation", "covariance"):
            object.__setattr__(self, name, None)
        object.__setattr__(self, "sampler", sampler)
        object.__setattr__(self, "compute", compute)

    @cached_property
    def mean(self) -> Tensor:
        """E[x₀ | x_t, y]."""
        compute: Callable[[], Tensor] = self.__dict__["compute"]
        with torch.no_grad():
            return compute()

    def with_mean(self, mean: Tensor) -> Estimate:
        return Estimate(mean)


class Guide(ABC):
    """An approximation of E[x₀ | x_t, y]; a frozen dataclass with its options as fields.

    Attributes:
        needs: Capabilities (see ``sfumato.inverse.capabilities``) it cannot do without.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    @property
    def exact(self) -> bool:
        """Whether it approximates nothing but what the prior's network does."""
        return False

    @abstractmethod
    def __call__(self, problem: Problem, x_t: Float[Tensor, "batch *x"], t: Level) -> Estimate:
        """What is believed about x₀ given x_t *and* y, to be called under ``no_grad``.

        Guides that know the spread of x₀ given x_t and y say so in the estimate (``variance``, or
        ``sampler`` for exact draws), which is what calibrated sampling uses.
        """


@dataclass(frozen=True, eq=False)
class Conditioned(Denoiser):
    """The denoiser of the posterior p(x₀ | y) in a guide's approximation."""

    prior: Denoiser
    guide: Guide
    problem: Problem

    @property
    def process(self) -> Any:  # type: ignore[override]
        return self.prior.process

    def __call__(
        self, x_t: Float[Tensor, "batch *x"], t: Level, condition: Condition = None
    ) -> Estimate:
        return self.guide(self.problem, x_t, t)


class Solver(ABC):
    """Draws x₀ given y; a frozen dataclass with its options as fields.

    Attributes:
        needs: Capabilities it cannot do without.
        point: Whether it makes one estimate whatever the stream, so that its samples are all alike.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    point: ClassVar[bool] = False

    @property
    def exact(self) -> bool:
        """Whether the estimates that ``mean_from`` hands on are right at every level."""
        return False

    def mean_from(self, step: Step) -> Tensor | None:
        """E[x₀ | x_t, y] as ``step`` estimated it; ``None`` for steps that are not to be counted.

        Its mean over samples and steps is the posterior mean with less chance in it than the
        samples' own average; see ``sfumato.expectations``.
        """
        return None

    @property
    def lockstep(self) -> bool:
        """Whether its calls of the denoiser can be numbered, and their answers mixed.

        Each is for all items, and how many there are does not depend on them; see
        ``sfumato.denoisers.mirrored``.
        """
        return False

    @property
    def prepares(self) -> bool:
        """Whether ``prepare`` may find something."""
        return False

    def prepare(
        self, problem: Problem, streams: Streams, *, n: int = 1, callback: Callback | None = None
    ) -> First | None:
        """What the n samples of an item have in common; ``None`` if it is not worth its cost.

        Samples may start from its estimate, and their mean leans on it as far as they bear it out
        (``sfumato.expectations``). A solver that needs it and is not given it finds it by itself.
        """
        return None

    @abstractmethod
    def __call__(
        self, problem: Problem, streams: Streams, *, callback: Callback | None = None
    ) -> Float[Tensor, "batch *x"]:
        """One posterior sample for each item of ``problem.y``.

        Args:
            problem: Denoiser, operator, measurement.
            streams: One stream per item.
            callback: Called after every step.
        """
