"""Bounds as means over draws: what all estimators of −ln p(x₀) share.

Each item has n draws of a position u_j ∈ [j/n, (j + 1)/n), j = 0, …, n − 1, that says how noisy the
draw is. Neighbouring strata are compared in pairs for the standard error,

    error² = Σ (v_{2j} − v_{2j+1})²/n²,

which counts what stratification removes at most twice, and is not below the truth in expectation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sfumato import draws
from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import TokenDenoiser, valid_places
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.likelihood.terms import require_tokens
from sfumato.noise import Streams
from sfumato.processes import Categorical, Gaussian, TokenLevel

__all__ = [
    "Bound",
    "Budget",
    "Piece",
    "Trial",
    "average",
    "chosen",
    "drawn_level",
    "drawn_step",
    "pieces",
    "require_even",
    "stratified",
]


@dataclass(frozen=True)
class Bound:
    """An estimate of an upper bound on −ln p(x) of each item.

    Args:
        nats: The estimate, ``[batch]``.
        error: Its standard error; 0 where nothing is drawn.
    """

    nats: Float[Tensor, " batch"]
    error: Float[Tensor, " batch"]

    def __add__(self, nats: Tensor) -> Bound:
        """Adds a part that is known exactly."""
        return Bound(self.nats + nats, self.error)


@dataclass(frozen=True)
class Budget:
    """How much an estimator may compute.

    Args:
        draws: Noisy states per item, an even number.
        batch: States per call of the denoiser.

    Raises:
        InvalidOptionError: If either is not such a number.
    """

    draws: int = 256
    batch: int = 64

    def __post_init__(self) -> None:
        if self.draws < 2 or self.draws % 2:
            raise InvalidOptionError("budget", f"draws={self.draws}", "use an even number from 2")
        if self.batch < 1:
            raise InvalidOptionError("budget", f"batch={self.batch}", "use 1 or more")


def drawn_level(process: Categorical, u: Tensor) -> tuple[TokenLevel, Tensor]:
    """The level with 1 − α = u² (1 − α₁), and what makes up for the density of such α.

    Integrands grow as 1/(1 − α) near the data: with α drawn uniformly their variance is infinite.
    """
    span = 1 - process.level(1.0).alpha
    level = process.level(process.survival.time_of(1 - u.cpu() ** 2 * span))
    return level, (2 * u.cpu() * span).to(u.device)


def drawn_step(process: Categorical, u: Tensor, T: int) -> tuple[TokenLevel, TokenLevel, Tensor]:
    """Both ends of step ⌊u² T⌋ + 1 of T, the noisier first, and 1/(the chance of that step)."""
    k = (u.cpu() ** 2 * T).floor().clamp(max=T - 1) + 1
    chance = (k / T).sqrt() - ((k - 1) / T).sqrt()
    return process.level(k / T), process.level((k - 1) / T), (1 / chance).to(u.device)


@dataclass(frozen=True)
class Trial:
    """Draws that are computed in one call: one row each.

    Args:
        process: Of the denoiser.
        x_0: Data; 0 at places that do not exist.
        valid: Places that exist.
        u: Position of each draw in [0, 1).
        streams: One stream per draw.
        believe: The denoiser with its condition bound.
    """

    process: Categorical
    x_0: Int[Tensor, "rows *x"]
    valid: Bool[Tensor, "rows *x"]
    u: Float[Tensor, " rows"]
    streams: Streams
    believe: Callable[[Tensor, TokenLevel], Tensor]


def average(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    streams: Streams,
    condition: Condition,
    budget: Budget,
    term: Callable[[Trial], Tensor],
) -> Bound:
    """The mean of ``term`` over the draws of each item."""
    with torch.no_grad():
        found = [term(trial) for trial in trials(denoiser, x_0, streams, condition, budget)]
    return stratified(torch.cat(found).double().reshape(len(x_0), budget.draws))


def require_even(process: Gaussian, method: str) -> None:
    """Refuses processes whose elements have levels of their own.

    Raises:
        UnsupportedError: If it is one.
    """
    if process.level(process.schedule.t_max).uneven:
        raise UnsupportedError(
            method, "one level for all elements", f"{type(process).__name__} has many",
            ["gaussian_bound(grid=…)"],
        )  # fmt: skip


def stratified(values: Float[Tensor, "batch draws"]) -> Bound:
    """The mean of values of neighbouring strata, with the error above."""
    pairs = values[:, 0::2] - values[:, 1::2]
    return Bound(values.mean(dim=1), pairs.square().sum(dim=1).sqrt() / values.shape[1])


class Piece(NamedTuple):
    """Draws that are computed in one call: for each the item, its position and its stream."""

    item: Int[Tensor, " rows"]
    u: Float[Tensor, " rows"]
    streams: Streams


def pieces(x_0: Tensor, streams: Streams, budget: Budget) -> Iterator[Piece]:
    """All draws of all items, item by item, in pieces of ``budget.batch`` rows."""
    n = budget.draws
    inside = draws.uniform(torch.empty(len(x_0), n, device=x_0.device), streams)
    u = ((torch.arange(n, device=x_0.device) + inside) / n).flatten()
    noise = streams.spawn("draws of a bound")
    for first in range(0, len(u), budget.batch):
        rows = torch.arange(first, min(first + budget.batch, len(u)), device=x_0.device)
        item, number = (rows // n).tolist(), (rows % n).tolist()
        keys = [(*noise.keys[i], j) for i, j in zip(item, number, strict=True)]
        yield Piece(rows // n, u[rows], Streams(noise.seed, keys))


def trials(
    denoiser: TokenDenoiser,
    x_0: Int[Tensor, "batch *x"],
    streams: Streams,
    condition: Condition,
    budget: Budget,
) -> Iterator[Trial]:
    """All draws of all items, in pieces."""
    valid = valid_places(x_0, condition)
    require_tokens(x_0, valid, denoiser.process.tokens)
    x_0 = torch.where(valid, x_0, 0)
    for index, u, noise in pieces(x_0, streams, budget):
        yield Trial(
            denoiser.process, x_0[index], valid[index], u, noise,
            functools.partial(log_beliefs, denoiser, chosen(condition, index, len(x_0))),
        )  # fmt: skip


def log_beliefs(
    denoiser: TokenDenoiser, condition: Condition, x_t: Tensor, t: TokenLevel
) -> Tensor:
    return denoiser(x_t, t, condition).log_probs


def chosen(condition: Condition, index: Tensor, batch: int) -> Condition:
    """The condition of some items: rows of what has one row per item, the rest as it is."""
    if condition is None:
        return None

    def rows(value: object) -> object:
        if isinstance(value, Tensor) and value.ndim and len(value) == batch:
            return value[index.to(value.device)]
        return value

    found: Mapping[str, object] = {key: rows(value) for key, value in condition.items()}
    return found
