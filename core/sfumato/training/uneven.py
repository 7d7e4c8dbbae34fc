"""Levels that differ from element to element, for networks that are told a noise map.

A measurement of some elements, with noise of its own, is a state of a Gaussian process in which
every element has its own level: what was measured is at the level of its noise, what was not is at
the noisiest. A network that has seen such states knows E[x₀ | x_t, y] for every measurement of that
kind, where a network trained on even levels needs a guide's approximation.

An uneven item keeps a random set of its elements below the level of the rest: blobs between one and
16 elements wide, of a share drawn uniformly; their level is the lowest for half of the items, and
log-uniform for the others. Half of the uneven items have their noisiest elements where nothing of
the data is left to see, so that what is learnt there is to fill in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from sfumato.denoisers import Preconditioned
from sfumato.noise import Streams, derive
from sfumato.processes import Gaussian, Level
from sfumato.training.configs import TrainConfig
from sfumato.training.losses import weight

__all__ = ["uneven_level", "uneven_share", "uneven_weight"]

WIDTHS = (1, 1, 2, 4, 8, 16)
"""Widths of blobs, drawn with equal chance."""
BLIND = 1.0
"""σ/α above which little of the data is seen; between it and the largest, ln σ/α is uniform."""
DEFAULT = 0.5
"""Share of uneven items for networks with a noise map."""
LEARNT = 0.01
"""σ/α below which an element is taken to be known, and its error has no weight."""


def uneven_level(
    process: Gaussian,
    level: Level,
    numbers: Sequence[int],
    config: TrainConfig,
    space: Sequence[int],
    *,
    share: float,
) -> Level:
    """``level``, with some of the items made uneven.

    Args:
        process: Of the levels.
        level: One level per item.
        numbers: Global sample numbers, from which the draws follow.
        config: Settings.
        space: Spatial shape of an item.
        share: Chance of an item to be made uneven.

    Returns:
        A level of shape ``[batch, 1, *space]``.
    """
    generators = Streams(derive(config.seed, "uneven"), numbers).generators
    schedule = process.schedule
    low = float(process.level(schedule.t_min).log_ratio)
    high = float(process.level(schedule.t_max).log_ratio)
    rows, times = [], []
    for log_ratio, generator in zip(level.log_ratio.tolist(), generators, strict=True):
        u = torch.rand(5, dtype=torch.float64, generator=generator).tolist()
        top = log_ratio
        row = torch.full(tuple(space), top, dtype=torch.float64)
        if u[0] < share:
            if u[1] < 0.5:
                start = max(math.log(BLIND), low)
                top = start + (high - start) * 2 * u[1]
                row.fill_(top)
            known = low if u[2] < 0.5 else low + (top - low) * (2 * u[2] - 1)
            field = blobs(space, WIDTHS[int(u[3] * len(WIDTHS))], generator)
            row[field < field.flatten().quantile(u[4])] = known
        rows.append(row)
        times.append(top)
    ratios = torch.stack(rows)[:, None]
    # a schedule's α and σ belong to times; σ/α alone fixes both
    each = process.level(schedule.time_of(ratios))
    noisiest = schedule.time_of(torch.tensor(times, dtype=torch.float64))
    return Level(noisiest, each.alpha, each.sigma, process)


def uneven_share(denoiser: Preconditioned, config: TrainConfig) -> float:
    """What ``config.uneven`` means for a network."""
    if config.uneven is not None:
        return config.uneven
    return DEFAULT if denoiser.takes_uneven and config.weight != "likelihood" else 0.0


def uneven_weight(name: str, denoiser: Preconditioned, level: Level, gamma: float) -> Tensor:
    """The weight ``name`` of every element; none where it is known."""
    w = weight(name, denoiser, level, gamma=gamma)
    return w * (level.ratio >= LEARNT)


def blobs(space: Sequence[int], width: int, generator: torch.Generator) -> Tensor:
    """A smooth random field of blobs about ``width`` elements wide."""
    coarse = [max(2, -(-n // width) + 1) for n in space]
    field = torch.rand(1, 1, *coarse, dtype=torch.float64, generator=generator)
    if width > 1 and len(space) <= 3:
        mode = ("linear", "bilinear", "trilinear")[len(space) - 1]
        field = functional.interpolate(field, size=tuple(space), mode=mode)
    for axis, n in enumerate(space, start=2):
        field = field.narrow(axis, 0, n)
    return field[0, 0]
