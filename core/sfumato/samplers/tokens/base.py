"""Running a denoiser of tokens backwards: the one loop.

A sampler knows how to take x_t to a cleaner level s, given ln p(x₀,i | x_t). It never sees a
measurement: places that are known are kept by ``frozen``, and posteriors come as denoisers.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from sfumato.denoisers.base import Condition
from sfumato.denoisers.categorical import Beliefs, TokenDenoiser, valid_places
from sfumato.errors import UnsupportedError
from sfumato.noise import Streams
from sfumato.processes.categorical import Categorical, TokenLevel
from sfumato.processes.mixing import Mixing
from sfumato.samplers.base import Step

__all__ = ["Believe", "TokenSampler", "absorbing", "process_of", "run_tokens"]

EXACT, MODE = "exact in the limit", "MAP-like"

Believe = Callable[[Tensor, TokenLevel], Beliefs]


class TokenSampler(ABC):
    """A rule for one step from level t to a cleaner level s; a frozen dataclass.

    Attributes:
        kind: ``"exact in the limit"`` (of many steps, with the right beliefs) or ``"MAP-like"``
            (likely states, too little variety).
        summary: One line.
        hides: Whether it needs a process that only ever hides tokens.
    """

    kind: ClassVar[str]
    summary: ClassVar[str]
    hides: ClassVar[bool] = False

    def begin(self) -> TokenSampler:
        """The rule for one run: itself, or a copy with a memory of its own."""
        return self

    def check(self, process: Categorical) -> None:
        """Refuses processes that the rule is not made for.

        Raises:
            UnsupportedError: If it ``hides`` and the process does something else besides.
        """
        if self.hides and not absorbing(process):
            raise UnsupportedError(
                type(self).__name__, "a process that hides tokens and does nothing else to them",
                f"this one is {type(process).__name__}",
                ["Ancestral", "TauLeaping", "DiscreteDDIM", "PredictorCorrector"],
            )  # fmt: skip

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
            believe: The denoiser with its condition bound. Need not be called where no belief is
                needed.
            x_t: State; must not be changed in place.
            t: Its level.
            s: The level to go to.
            frozen: Places that must stay as they are, and count for nothing.
            streams: One stream per item. How much an item draws must not depend on the others.
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
        grid: Times that never rise, ``[steps + 1]`` or ``[steps + 1, batch]``; ends in 0 for clean
            data.
        streams: One stream per item.
        frozen: Places that stay as they are in ``x``; none if not given.
        condition: Passed to the denoiser. Places that are not ``"valid"`` stay as they are too.
        callback: Called after every step.

    Raises:
        UnsupportedError: If the sampler is not made for the process.
        NotFiniteError: If a belief is NaN or excludes every token.
    """
    sampler.check(denoiser.process)
    rule = sampler.begin()
    levels = denoiser.process.levels(grid)
    still = ~valid_places(x, condition)
    if frozen is not None:
        still = still | frozen
    made: list[Any] = []
    cached: tuple[Tensor, Beliefs] | None = None

    def believe(x_t: Tensor, t: TokenLevel) -> Beliefs:
        nonlocal cached
        # without time in it, the belief about an unchanged state is the same
        if cached is None or denoiser.takes_time or not torch.equal(cached[0], x_t):
            cached = (x_t, denoiser(x_t, t, condition))
        if callback is not None:  # nobody else looks at them, and they are large
            made.append(cached[1])
        return cached[1]

    with torch.no_grad():
        for index, (t, s) in enumerate(itertools.pairwise(levels)):
            made.clear()
            x = torch.where(still, x, rule.step(believe, x, t, s, still, streams))
            if callback is not None:
                callback(
                    Step(index, len(levels) - 1, s, x, made[-1] if made else None, tuple(made))
                )
    return x


def absorbing(process: Categorical) -> bool:
    """Whether tokens are only ever hidden: all noise is MASK."""
    return isinstance(process, Mixing) and process.mask is not None and process.frequencies[-1] == 1


def process_of(t: TokenLevel) -> Categorical:
    """The process that a level belongs to."""
    if t.process is None:
        raise UnsupportedError(
            "a sampler", "levels that know their process", "this one was made by hand",
            ["process.level(t)"],
        )  # fmt: skip
    return t.process
