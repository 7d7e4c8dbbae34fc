"""What solvers with a loop of their own share: a grid's levels, a start, and the callback."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sfumato.denoisers import Estimate
from sfumato.errors import NotFiniteError
from sfumato.inverse.problems import Callback, Problem
from sfumato.inverse.solvers.travel import stops
from sfumato.noise import Streams
from sfumato.processes import Gaussian, Level
from sfumato.processes.grids import log_snr
from sfumato.samplers.base import Step

__all__ = ["Descend", "descend", "finite"]

Descend = Callable[[Tensor, Level, Level], tuple[Tensor, Tensor]]
"""(x_t, t, s) ↦ (x_s, the estimate of x₀ that it used)."""


def descend(
    problem: Problem,
    streams: Streams,
    step: Descend,
    *,
    steps: int,
    length: int = 1,
    repeats: int = 1,
    start: Callable[[Level], Tensor] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Walks from noise to data with ``step``, with time travel.

    Args:
        problem: Whose denoiser's process it is, and whose shape.
        streams: One stream per item.
        step: One step down.
        steps: Steps of the grid, uniform in log-SNR.
        length: Levels of one stretch of time travel.
        repeats: How often each stretch is walked.
        start: Level ↦ the first state; pure noise if not given.
        callback: Called after every step down.
    """
    process: Gaussian = problem.denoiser.process
    levels = process.levels(log_snr(process, steps))
    walk = list(stops(levels, length, repeats))
    count = sum(down for _, _, down in walk)
    with torch.no_grad():
        first = levels[0]
        x = process.start(problem.blank(), first, streams) if start is None else start(first)
        numbers: Iterator[int] = iter(range(count))
        for t, s, down in walk:
            if not down:
                x = process.renoise(x, t, s, streams.normal(x))
                continue
            x, estimate = step(x, t, s)
            if callback is not None:
                callback(Step(next(numbers), count, s, x, Estimate(estimate)))
    return finite(x)


def finite(x: Tensor) -> Tensor:
    """x, if it is finite."""
    good = torch.isfinite(x)
    if not bool(good.all()):
        raise NotFiniteError("samples", int((~good).sum()), x.numel())
    return x
