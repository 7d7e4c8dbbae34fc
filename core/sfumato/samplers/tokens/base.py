"""Running a denoiser of tokens backwards: the one loop.

A sampler knows how to take x_t to a cleaner level s, given ln p(x₀,i | x_t). It never sees a
measurement: places that are known are kept by ``frozen``, and posteriors come as denoisers.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser
from sfumato.noise import Streams
from sfumato.processes.categorical import TokenLevel
from sfumato.samplers.base import Step

__all__ = ["Believe", "TokenSampler", "run_tokens"]

Believe = Callable[[Tensor, TokenLevel], Beliefs]


class TokenSampler(ABC):
    """A rule for one step from level t to a cleaner level s; a frozen dataclass, stateless."""

    @abstractmethod
    def step(
        self,
        believe: Believe,
        x_t: Int[Tensor, "batch *x"],
        t: TokenLevel,
        s: TokenLevel,
        frozen: Bool[Tensor, "batch *x"],
        streams: Streams,
    ) -> Int[Tensor, "batch *x"]:
        """Returns x_s.

        Args:
            believe: The denoiser with its condition bound.
            x_t: State.
            t: Its level.
            s: The level to go to.
            frozen: Places that must stay as they are.
            streams: One stream per item.
        """


def run_tokens(
    sampler: TokenSampler,
    denoiser: TokenDenoiser,
    x: Int[Tensor, "batch *x"],
    grid: Tensor,
    streams: Streams,
    *,
    frozen: Bool[Tensor, "batch *x"] | None = None,
    condition: Condition = None,
    callback: Callable[[Step], Any] | None = None,
) -> Int[Tensor, "batch *x"]:
    """Takes ``x`` from ``grid[0]`` to ``grid[-1]``.

    Args:
        sampler: The rule for one step.
        denoiser: A prior's denoiser, or a posterior's.
        x: State at ``grid[0]``.
        grid: Decreasing times; ends in 0 for clean data.
        streams: One stream per item.
        frozen: Places that stay as they are in ``x``; none if not given.
        condition: Passed to the denoiser.
        callback: Called after every step.
    """
    levels = denoiser.process.levels(grid)
    still = torch.zeros_like(x, dtype=torch.bool) if frozen is None else frozen
    made: list[Any] = []
    cached: tuple[Tensor, Beliefs] | None = None

    def believe(x_t: Tensor, t: TokenLevel) -> Beliefs:
        nonlocal cached
        # without time in it, the belief about an unchanged state is the same
        if cached is None or denoiser.takes_time or not torch.equal(cached[0], x_t):
            cached = (x_t, denoiser(x_t, t, condition))
        made.append(cached[1])
        return cached[1]

    with torch.no_grad():
        for index, (t, s) in enumerate(itertools.pairwise(levels)):
            made.clear()
            x = torch.where(still, x, sampler.step(believe, x, t, s, still, streams))
            if callback is not None:
                callback(
                    Step(index, len(levels) - 1, s, x, made[-1] if made else None, tuple(made))
                )
    return x
