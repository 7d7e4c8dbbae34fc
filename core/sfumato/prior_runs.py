"""Running a sampler on a prior: what lies between the verb ``sample`` and a sampler's loop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser
from sfumato.denoisers.guided import ClassifierFree
from sfumato.devices import available
from sfumato.errors import ShapeError, UnknownNameError, UnsupportedError
from sfumato.noise import Streams
from sfumato.priors import Prior
from sfumato.processes import Gaussian, Riemannian, Spectral
from sfumato.processes.grids import GRIDS
from sfumato.runs import ELEMENTS, expand_condition
from sfumato.samplers import Noise, Sampler, Start, Step, run
from sfumato.samplers.presets import make, named, require
from sfumato.samplers.tokens import TokenSampler

__all__ = ["DEFAULT", "loaded", "sample_numbers", "use"]

DEFAULT = "deis"
"""What ``"auto"`` is in flat space: as near the probability flow in 20 evaluations as Heun's method
in 50 (the table of the survey's samplers in the documentation)."""


def loaded(prior: Prior | str, device: torch.device | str | None) -> Prior:
    """A prior, or the one of that name or folder, on the device that was asked for.

    Raises:
        InvalidOptionError: If there is no such device.
    """
    prior = Prior.load(prior) if isinstance(prior, str) else prior
    if device is None:
        return prior
    chosen = available(device)
    return prior if chosen == prior.device else prior.to(chosen)


def sample_numbers(
    prior: Prior,
    *,
    n: int,
    seed: int,
    first: int,
    sampler: str | Sampler | TokenSampler,
    steps: int | None,
    grid: str | None,
    start: Start | None,
    end: float | None,
    shape: tuple[int, ...] | None,
    condition: Condition,
    scale: float,
    batch: int | None,
    dtype: torch.dtype,
    callback: Callable[[float, Step], Any] | None,
) -> Tensor:
    """Draws from a prior over numbers; arguments as in ``sfumato.sample``."""
    if sampler == "auto":
        sampler, grid = default(prior.process, grid)
    rule, grid, steps = arranged(sampler, grid, steps, prior.denoiser)
    if shape is None:
        if None in prior.shape:
            raise ShapeError("shape", (), "given for this prior, such as shape=(3, 64, 64)")
        shape = tuple(k for k in prior.shape if k is not None)
    denoiser = prior.sized(shape)
    if scale != 1:
        denoiser = ClassifierFree(denoiser, scale)
    start = start or Noise()
    if grid not in GRIDS:
        raise UnknownNameError("grid", grid, GRIDS)
    times = GRIDS[grid](prior.process, steps, start=start.ratio, end=end)
    size = batch or max(1, ELEMENTS // math.prod(shape))
    whole = expand_condition(prior, condition, n)
    parts = []
    for low in range(0, n, size):
        count = min(size, n - low)
        streams = Streams.count(seed, count, first=first + low)
        blank = torch.zeros(count, *shape, dtype=dtype, device=prior.device)
        x = start(prior.process, blank, prior.process.level(times[0]), streams)
        rows = {key: value[low : low + count] for key, value in whole.items()} or None

        def report(step: Step, low: int = low, count: int = count) -> None:
            if callback is not None:
                callback((low + count * (step.index + 1) / step.count) / n, step)

        x = run(rule, denoiser, x, times, streams, condition=rows, callback=report)
        parts.append(prior.codec.decode(prior.process.synthesise(x)).cpu())
    return torch.cat(parts)


def default(process: Gaussian, grid: str | None) -> tuple[str, str | None]:
    """The sampler for a process, and the grid that goes with it if the preset's does not."""
    if isinstance(process, Riemannian):
        return "geodesic", grid
    if isinstance(process, Spectral):  # ancestral sampling at even times (Hoogeboom & Salimans)
        return "ddpm", grid or "uniform"
    return DEFAULT, grid


def arranged(
    sampler: str | Sampler | TokenSampler,
    grid: str | None,
    steps: int | None,
    denoiser: Denoiser,
) -> tuple[Sampler, str, int]:
    """The sampler with its grid and steps, which the preset of a name has an opinion about.

    Raises:
        UnsupportedError: If it draws tokens.
    """
    if isinstance(sampler, TokenSampler):
        raise UnsupportedError(repr(sampler), "a prior over tokens", "this one is over numbers")
    if not isinstance(sampler, str):
        return sampler, grid or "karras", steps or 30
    require(sampler, denoiser)
    preset = named(sampler)
    return make(sampler), grid or preset.grid, steps or preset.steps


def use(prior: Prior, shape: tuple[int, ...]) -> tuple[str, ...]:
    """What a person should be told of the use of a prior for x of ``shape``."""
    channels = prior.stands_for(shape)
    name = prior.card.get("name", "unnamed")
    told = f"one channel, so prior '{name}' of {channels} takes all of its channels as equal"
    return (told,) if channels else ()
