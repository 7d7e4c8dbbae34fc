"""Denoisers for data of any size.

A convolutional network takes inputs whose sides are multiples of some number, and has a size
beyond which memory runs out. ``Padded`` reflects the input up to the next multiple. ``Tiled`` runs
overlapping windows and joins them with weights that sum to one,

    x̂ = Σ_w W_w ⊙ D(window w of x_t),    Σ_w W_w = 1,

where W_w is 0 on the outer quarter of every overlap, 1 inside, and linear between. So what a
window gets wrong for not seeing beyond its border is thrown away: the result equals the whole
network's wherever the receptive field reaches no further than overlap/4. Operators are not
tiled; a measurement may couple any elements.

Both take one to three spatial axes, after batch and channels. Entries of the condition with the
same spatial axes as x_t are padded and cut along with it, and so are uneven levels.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers.base import Condition, Denoiser, Estimate, knows_covariance
from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level

__all__ = ["Padded", "Tiled"]


@dataclass(frozen=True, eq=False)
class Padded(Denoiser):
    """Reflects data up to a multiple, and crops all that comes back.

    Args:
        denoiser: One that needs sides which are multiples of ``multiple``.
        multiple: 1 or more.
    """

    denoiser: Denoiser
    multiple: int

    def __post_init__(self) -> None:
        if self.multiple < 1:
            raise InvalidOptionError("padding", f"multiple={self.multiple}", "use 1 or more")

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.denoiser.process

    @property
    def knows_covariance(self) -> bool:
        return knows_covariance(self.denoiser)

    def __call__(
        self, x_t: Float[Tensor, "batch channels *space"], t: Level, condition: Condition = None
    ) -> Estimate:
        space = spatial(x_t)
        full = [-(-n // self.multiple) * self.multiple for n in space]
        if full == space:
            return self.denoiser(x_t, t, condition)
        padded = each(condition, space, lambda value: reflect(value, full))
        level = spread_out(t, space, lambda value: reflect(value, full))
        estimate = self.denoiser(reflect(x_t, full), level, padded)
        window: tuple[Any, ...] = (..., *(slice(0, n) for n in space))
        inner_map, inner_draw = estimate.covariance, estimate.sampler

        def crop(part: Tensor | None) -> Tensor | None:
            return None if part is None else part[window]

        def covariance(v: Tensor) -> Tensor:
            assert inner_map is not None
            wide = v.new_zeros(*v.shape[:2], *full)
            wide[window] = v
            return inner_map(wide)[window]

        def draw(streams: Streams) -> Tensor:
            assert inner_draw is not None
            return inner_draw(streams)[window]

        return Estimate(
            estimate.mean[window],
            variance=crop(estimate.variance),
            interpolation=crop(estimate.interpolation),
            covariance=covariance if inner_map else None,
            sampler=draw if inner_draw else None,
        )


@dataclass(frozen=True, eq=False)
class Tiled(Denoiser):
    """Runs a denoiser on overlapping windows, one after the other.

    The spread that an estimate may carry is joined like its mean; a covariance map or a sampler
    is dropped, because windows know nothing of what they share.

    Args:
        denoiser: Any denoiser of spatial data.
        tile: Side of a window; a multiple of what the network needs.
        overlap: What neighbouring windows share, 0 to ``tile``/2; with a network that folds
            blocks, choose ``tile - overlap`` as a multiple of them too.
    """

    denoiser: Denoiser
    tile: int
    overlap: int

    def __post_init__(self) -> None:
        if self.tile < 1 or not 0 <= 2 * self.overlap <= self.tile:
            raise InvalidOptionError(
                "tiles", f"tile={self.tile}, overlap={self.overlap}",
                "use a tile of 1 or more and an overlap of at most half of it",
            )  # fmt: skip

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.denoiser.process

    def __call__(
        self, x_t: Float[Tensor, "batch channels *space"], t: Level, condition: Condition = None
    ) -> Estimate:
        space = spatial(x_t)
        if all(n <= self.tile for n in space):
            return self.denoiser(x_t, t, condition)
        axes = [self.windows(n) for n in space]
        joined: dict[str, Tensor] = {}
        for place in itertools.product(*axes):
            cut: tuple[Any, ...] = (..., *(window for window, _ in place))
            told = each(condition, space, operator.itemgetter(cut))
            level = spread_out(t, space, operator.itemgetter(cut))
            part = self.denoiser(x_t[cut], level, told)
            weight = outer([w for _, w in place]).to(x_t)
            for name in ("mean", "variance", "interpolation"):
                value = getattr(part, name)
                if value is not None:
                    value = value.expand_as(part.mean)
                    whole = joined.setdefault(name, value.new_zeros(x_t.shape))
                    whole[cut] += weight * value
        return Estimate(
            joined["mean"],
            variance=joined.get("variance"),
            interpolation=joined.get("interpolation"),
        )

    def windows(self, size: int) -> list[tuple[slice, Tensor]]:
        """Windows along an axis, each with its weights; the weights sum to 1 at every place."""
        tile = min(self.tile, size)
        starts = [*range(0, size - tile, self.tile - self.overlap), size - tile]
        place = torch.arange(size, dtype=torch.float64) + 0.5
        width = max(self.overlap / 2, 1e-9)
        rises = [torch.ones_like(place)]
        for before, start in itertools.pairwise(starts):
            middle = (start + before + tile) / 2
            rises.append(((place - middle) / width + 0.5).clamp(0, 1))
        falls = [*rises[1:], torch.zeros_like(place)]
        return [
            (slice(start, start + tile), (rise - fall)[start : start + tile])
            for start, rise, fall in zip(starts, rises, falls, strict=True)
        ]


def spatial(x: Tensor) -> list[int]:
    """Sides of ``x`` after batch and channels."""
    if not 3 <= x.ndim <= 5:
        raise ShapeError("state", x.shape, "batch × channels × one to three spatial axes")
    return list(x.shape[2:])


def reflect(x: Tensor, full: Sequence[int]) -> Tensor:
    """Extends the last axes at their ends by reflection, as often as it takes."""
    for axis, size in enumerate(full, start=x.ndim - len(full)):
        n = x.shape[axis]
        if size > n:
            place = torch.arange(size, device=x.device) % max(2 * (n - 1), 1)
            x = x.index_select(axis, torch.minimum(place, (2 * (n - 1) - place).abs()))
    return x


def each(
    condition: Condition, space: Sequence[int], change: Callable[[Tensor], Tensor]
) -> Condition:
    """Applies ``change`` to the entries of a condition that lie on the same grid."""
    if condition is None:
        return None
    d = len(space)
    return {
        name: change(value)
        if isinstance(value, Tensor) and value.ndim > d and list(value.shape[-d:]) == list(space)
        else value
        for name, value in condition.items()
    }


def spread_out(t: Level, space: Sequence[int], change: Callable[[Tensor], Tensor]) -> Level:
    """Applies ``change`` to the coefficients of an uneven level; its time stays."""
    if not t.uneven:
        return t
    alpha, sigma = (change(c.expand(*c.shape[:2], *space)) for c in (t.alpha, t.sigma))
    return replace(t, alpha=alpha, sigma=sigma)


def outer(weights: Sequence[Tensor]) -> Tensor:
    """Product of one weight per axis."""
    result = weights[0]
    for weight in weights[1:]:
        result = result[..., None] * weight
    return result
