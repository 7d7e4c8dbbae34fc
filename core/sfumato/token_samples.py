"""Draws from a prior over tokens: what lies between the verb ``sample`` and a ``TokenSampler``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from sfumato import draws
from sfumato.denoisers.base import Condition
from sfumato.denoisers.sequential import draw
from sfumato.errors import InvalidOptionError, ShapeError, UnsupportedError
from sfumato.inverse.registry import named
from sfumato.inverse.tokens.histories import leading_chain
from sfumato.noise import Streams
from sfumato.samplers.base import Sampler, Step
from sfumato.samplers.tokens import SAMPLERS, TokenSampler, run_tokens
from sfumato.token_priors import TokenPrior

__all__ = ["sample_tokens"]

Progress = Callable[[float, Step], Any]


def sample_tokens(
    prior: TokenPrior,
    *,
    n: int,
    seed: int,
    first: int,
    sampler: str | Sampler | TokenSampler,
    steps: int | None,
    shape: tuple[int, ...] | None,
    condition: Condition,
    batch: int | None,
    callback: Progress | None,
) -> tuple[Any, ...]:
    """Draws from a prior over tokens, decoded; arguments as in ``sfumato.sample``."""
    if isinstance(sampler, Sampler):
        raise UnsupportedError(repr(sampler), "a prior over numbers", "this one is over tokens")
    if shape is None and None in prior.shape:
        raise ShapeError("shape", (), "given for this prior, such as shape=(200,)")
    size = shape or tuple(k for k in prior.shape if k is not None)
    prior.check(size)
    steps = math.prod(size) if steps is None else steps
    if n < 1 or steps < 1:
        raise InvalidOptionError("sample", f"n={n}, steps={steps}", "use 1 or more")
    chain = leading_chain(prior.denoiser) if sampler == "auto" and len(size) == 1 else None
    if chain is not None:
        streams = Streams.count(seed, n, first=first)
        blank = torch.empty(n, size[0] + 1)
        rows = draw(chain, draws.uniform(blank, streams).numpy())
        return tuple(prior.codec.decode(row) for row in torch.from_numpy(rows))
    if sampler == "auto":
        sampler = "first-hitting" if prior.process.mask is not None else "ancestral"
    rule = named("sampler", SAMPLERS, sampler)() if isinstance(sampler, str) else sampler
    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    count = batch or 8
    found: list[Any] = []
    for low in range(0, n, count):
        some = min(count, n - low)
        streams = Streams.count(seed, some, first=first + low)
        x = prior.process.start((some, *size), streams).to(prior.device)

        def report(step: Step, low: int = low, some: int = some) -> None:
            if callback is not None:
                callback((low + some * (step.index + 1) / step.count) / n, step)

        x = run_tokens(rule, prior.denoiser, x, grid, streams, condition=condition, callback=report)
        found += [prior.codec.decode(row) for row in x.cpu()]
    return tuple(found)
