"""Gaussian processes that lose some parts of a signal before others: blur, heat, fading.

A linear corruption that a basis V diagonalises gives every coefficient u = Vᵀx a signal scale of
its own,

    u_t = a(t) d_k(t) u_0 + σ(t) ε,    d_k(t) = (1 − δ) e^{−Λ_k τ(t)} + δ,

and since V is orthonormal the noise is as white in x as in u. So the state of such a process *is*
u, its levels differ from coefficient to coefficient, and every sampler runs on it as it is:
per-frequency coefficients go through the one reverse kernel.

    Blur   heat equation on a rectangle, τ = σ_B²/2 with σ_B = σ_max sin²(πt/2): blurring diffusion
           (Hoogeboom & Salimans, 2023), with cosine a(t) and σ(t)
    Heat   σ_B log-spaced and σ(t) a small constant: heat dissipation (Rissanen et al., 2023)
    Fade   any rates in the basis of the elements themselves: the masks of soft diffusion
           (Daras et al., 2022)

The heat equation with reflecting ends has the eigenvectors of DCT-II and the eigenvalues
Λ = π² Σ (n_i/N_i)² for frequency n_i of N_i.
"""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import InvalidOptionError
from sfumato.processes.gaussian import Gaussian, Level
from sfumato.processes.schedules import Schedule

__all__ = [
    "Attenuation",
    "Basis",
    "Blur",
    "Cosines",
    "Elements",
    "Fade",
    "Heat",
    "Spectral",
    "Steady",
]


@runtime_checkable
class Basis(Protocol):
    """An orthonormal basis of signals."""

    def analyse(self, x: Tensor) -> Tensor:
        """Vᵀx."""
        ...

    def synthesise(self, u: Tensor) -> Tensor:
        """Vu."""
        ...


@dataclass(frozen=True)
class Elements:
    """The elements themselves."""

    def analyse(self, x: Tensor) -> Tensor:
        return x

    def synthesise(self, u: Tensor) -> Tensor:
        return u


@dataclass(frozen=True)
class Cosines:
    """The orthonormal DCT-II along the last axes.

    Args:
        axes: How many axes are space.
    """

    axes: int = 2

    def analyse(self, x: Tensor) -> Tensor:
        for axis in range(-self.axes, 0):
            x = (x.movedim(axis, -1) @ cosines(x.shape[axis]).to(x)).movedim(-1, axis)
        return x

    def synthesise(self, u: Tensor) -> Tensor:
        for axis in range(-self.axes, 0):
            u = (u.movedim(axis, -1) @ cosines(u.shape[axis]).to(u).T).movedim(-1, axis)
        return u


@functools.lru_cache(maxsize=16)
def cosines(n: int) -> Float[Tensor, "n n"]:
    """Columns are the basis vectors of DCT-II, lowest frequency first."""
    place, frequency = torch.arange(n, dtype=torch.float64) + 0.5, torch.arange(n).double()
    matrix = (math.pi / n * place[:, None] * frequency).cos() * math.sqrt(2 / n)
    matrix[:, 0] /= math.sqrt(2)
    return matrix


class Attenuation(ABC):
    """d_k(t): what is left of each coefficient.

    Attributes:
        floor: δ, the share that never goes.
    """

    floor: float = 0.0

    @property
    @abstractmethod
    def basis(self) -> Basis:
        """V."""

    @property
    @abstractmethod
    def rates(self) -> Float[Tensor, "*x"]:
        """Λ, of the shape of one state or one that broadcasts to it."""

    @abstractmethod
    def elapsed(self, t: Tensor) -> Tensor:
        """τ(t), from 0 upwards."""

    def factors(self, t: Tensor) -> Float[Tensor, "batch *x"]:
        """d at ``t``, 0-dimensional or one time per item; float64."""
        rates = self.rates.double()
        tau = self.elapsed(t.double()).reshape(-1, *(1,) * rates.ndim)
        left = (1 - self.floor) * (-rates * tau).exp() + self.floor
        return left.clamp(min=1e-60)  # ratios of what has all gone are still numbers


@dataclass(frozen=True)
class Blur(Attenuation):
    """Gaussian blur that grows as sin².

    Args:
        space: Lengths of the spatial axes, in elements.
        sigma_max: Its largest width, in elements.
        floor: δ; keeps the division by d finite.
    """

    space: tuple[int, ...]
    sigma_max: float = 20.0
    floor: float = 1e-3

    def __post_init__(self) -> None:
        if not self.space or min(self.space) < 1 or self.sigma_max < 0 or not 0 <= self.floor < 1:
            raise InvalidOptionError(
                "blur", f"space={self.space}, sigma_max={self.sigma_max}, floor={self.floor}",
                "use lengths from 1, a width from 0 and a floor in [0, 1)",
            )  # fmt: skip

    @property
    def basis(self) -> Cosines:
        return Cosines(len(self.space))

    @property
    def rates(self) -> Tensor:
        return heat_rates(self.space)

    def elapsed(self, t: Tensor) -> Tensor:
        return (self.sigma_max * torch.sin(math.pi * t / 2) ** 2) ** 2 / 2


@dataclass(frozen=True)
class Heat(Attenuation):
    """Gaussian blur whose width grows geometrically, with nothing blurred at t = 0.

    Args:
        space: Lengths of the spatial axes, in elements.
        sigma_min: Its width just above t = 0, in elements.
        sigma_max: Its width at t = 1.
    """

    space: tuple[int, ...]
    sigma_min: float = 0.5
    sigma_max: float = 24.0

    def __post_init__(self) -> None:
        if not self.space or not 0 < self.sigma_min < self.sigma_max:
            raise InvalidOptionError(
                "heat", f"space={self.space}, sigma_min={self.sigma_min}",
                "name the axes, and use 0 < sigma_min < sigma_max",
            )  # fmt: skip

    @property
    def basis(self) -> Cosines:
        return Cosines(len(self.space))

    @property
    def rates(self) -> Tensor:
        return heat_rates(self.space)

    def elapsed(self, t: Tensor) -> Tensor:
        width = self.sigma_min * (self.sigma_max / self.sigma_min) ** t
        return torch.where(t > 0, width**2 / 2, 0.0)


@dataclass(frozen=True, eq=False)
class Fade(Attenuation):
    """Coefficients that fade at speeds of their own, d = e^{−Λ t²}.

    Args:
        speeds: Λ ≥ 0, of the shape of one state.
        within: The basis whose coefficients they are.
    """

    speeds: Float[Tensor, "*x"]
    within: Basis = field(default_factory=Elements)

    @property
    def basis(self) -> Basis:
        return self.within

    @property
    def rates(self) -> Tensor:
        return self.speeds

    def elapsed(self, t: Tensor) -> Tensor:
        return t**2


@functools.lru_cache(maxsize=16)
def heat_rates(space: Sequence[int]) -> Tensor:
    """Λ of the heat equation, with a leading axis for channels."""
    total = torch.zeros(tuple(space), dtype=torch.float64)
    for axis, n in enumerate(space):
        squares = (math.pi * torch.arange(n, dtype=torch.float64) / n) ** 2
        total = total + squares.reshape(-1, *(1,) * (len(space) - axis - 1))
    return total[None]


@dataclass(frozen=True)
class Steady(Schedule):
    """α = 1 and σ constant, where noise is not what a signal is lost in.

    Args:
        noise: σ, above 0; 0.01 in Rissanen et al.
    """

    noise: float = 0.01

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones_like(t), torch.full_like(t, self.noise)


@dataclass(frozen=True)
class Spectral(Gaussian):
    """u_t = a(t) d(t) ⊙ u₀ + σ(t) ε on the coefficients of a basis.

    Args:
        schedule: a and σ; grids are those of this schedule.
        attenuation: d, with its basis.
    """

    attenuation: Attenuation = field(default_factory=lambda: Blur((1,)))
    flat: ClassVar[bool] = False
    even: ClassVar[bool] = False

    def level(self, t: Tensor | float) -> Level:
        plain = super().level(t)
        d = self.attenuation.factors(plain.t)
        shape = (-1, *(1,) * (d.ndim - 1))
        return Level(plain.t, plain.alpha.reshape(shape) * d, plain.sigma.reshape(shape), self)

    def levels(self, grid: Tensor) -> list[Level]:
        return [self.level(t) for t in grid.double()]

    def plain(self, t: Level) -> Level:
        """The schedule's own level at the time of ``t``: what a network is told."""
        return Gaussian(self.schedule).level(t.t)

    def analyse(self, x: Float[Tensor, "batch *x"]) -> Float[Tensor, "batch *x"]:
        """Signals to states."""
        return self.attenuation.basis.analyse(x)

    def synthesise(self, x: Float[Tensor, "batch *x"]) -> Float[Tensor, "batch *x"]:
        """States to signals."""
        return self.attenuation.basis.synthesise(x)
