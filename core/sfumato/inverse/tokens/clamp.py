"""Filling gaps: known tokens are held, and any sampler of tokens does the rest.

In an absorbing process a clean token and the same token at level t are one state, so holding known
tokens from the start is conditioning on them. The prior's chain, one place at a time, then draws
from p(x | known) without any approximation: no resampling, no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.descents import descend
from sfumato.inverse.tokens.evidence import ready
from sfumato.inverse.tokens.passes import single, walk
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem, TokenSolver
from sfumato.inverse.tokens.rows import Rows
from sfumato.noise import Streams
from sfumato.samplers.tokens.base import TokenSampler

__all__ = ["Clamp"]


@dataclass(frozen=True)
class Clamp(TokenSolver):
    """The prior's sampler with known tokens held.

    Args:
        sampler: Any sampler of tokens; if not given, one place at a time in random order.
        steps: Steps of the sampler's grid.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"absorbing", "given", "memoryless", "unweighted"})

    sampler: TokenSampler | None = None
    steps: int = 64

    def __call__(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        problem = ready(type(self).__name__, self.needs, problem)
        if self.sampler is None:
            return single(descend(problem, 1, streams, callback=callback).x[:, 0])
        rows = Rows(problem)
        x = walk(rows, problem.denoiser, self.sampler, self.steps, streams, callback)
        return single(x)
