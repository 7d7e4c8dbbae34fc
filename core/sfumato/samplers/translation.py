"""From one data set to another through their common noise (DDIB; Su et al., 2023).

The probability flow of one prior carries its data to noise, and that of another carries the noise
to its own data. Each leg is the same sampler on the same grid, once upwards and once downwards, and
both end at the last level before data: a step to data itself would take x̂ of a state that had never
been given its noise. So what is translated there and back returns up to the error of the solver. In
one dimension the map is the optimal one: quantiles go to quantiles, up to the noise at that level.

A rectified flow or an α-blending between the two sets is one leg from t = 1, where the state is the
other set's point itself: ``run(DDIM(), denoiser, x_1, torch.linspace(1, 0, steps + 1), streams)``.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import like
from sfumato.samplers.base import Sampler, require_flow, run

__all__ = ["encode", "translate"]


def encode(
    sampler: Sampler,
    denoiser: Denoiser,
    x_0: Float[Tensor, "batch *x"],
    grid: Tensor,
    streams: Streams,
    *,
    condition: Condition = None,
) -> Float[Tensor, "batch *x"]:
    """The state at ``grid[0]`` that the probability flow carries to ``x_0``.

    Args:
        sampler: A deterministic one, such as ``SingleStep(3)`` or ``DPMSolver()``.
        denoiser: Of the data that ``x_0`` is from.
        x_0: Data; taken to be at the last time of the grid before 0.
        grid: Decreasing times that end in 0, as for sampling.
        streams: One per item.
        condition: Passed to the denoiser.

    Raises:
        InvalidOptionError: If the grid has no time between its first and 0.
        UnsupportedError: If the sampler adds noise.
    """
    require_flow(sampler, "encoding")
    if len(grid) < 3 or float(grid[-1]) != 0:
        raise InvalidOptionError("encode", "too short a grid", "give 3 or more times, the last 0")
    level = denoiser.process.level(grid[-2])
    start = like(level.alpha, x_0) * x_0
    return run(sampler, denoiser, start, grid[:-1].flip(0), streams, condition=condition)


def translate(
    sampler: Sampler,
    source: Denoiser,
    target: Denoiser,
    x_0: Float[Tensor, "batch *x"],
    grid: Tensor,
    streams: Streams,
    *,
    condition: Condition = None,
    wanted: Condition = None,
) -> Float[Tensor, "batch *x"]:
    """What ``x_0`` of one data set becomes in another, up to the noise that the grid ends with.

    Args:
        sampler: As for ``encode``.
        source: Denoiser of the data that ``x_0`` is from.
        target: Denoiser of the others, here used under the process of ``source``.
        x_0: Data.
        grid: Times of the process of ``source``.
        streams: One per item.
        condition: Of the source.
        wanted: Condition of the target.
    """
    noise = encode(sampler, source, x_0, grid, streams, condition=condition)
    under = target.under(source.process)
    x = run(sampler, under, noise, grid[:-1], streams, condition=wanted)
    return x / like(under.process.level(grid[-2]).alpha, x)
