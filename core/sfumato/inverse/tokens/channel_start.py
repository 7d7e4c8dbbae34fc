"""The measurement as a state of the process: start there and run the chain backwards.

Where p(y_i | x_i) = q(x_τ = y_i | x₀ = x_i), y is a sample of x_τ. Then x₀ given x_τ = y, which is
what the reverse chain draws, is the posterior: one pass, no weights, exact as the steps shrink. It
needs a process whose noise is the channel (``Confusion``, or uniform noise of the right strength);
with a hybrid process places that were not measured are MASK.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from sfumato.errors import UnsupportedError
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.evidence import ready
from sfumato.inverse.tokens.levels import as_state
from sfumato.inverse.tokens.passes import single
from sfumato.inverse.tokens.problems import TokenDraws, TokenProblem, TokenSolver
from sfumato.inverse.tokens.rows import Rows
from sfumato.noise import Streams
from sfumato.samplers.tokens.ancestral import Ancestral
from sfumato.samplers.tokens.base import TokenSampler, run_tokens

__all__ = ["ChannelStart"]


@dataclass(frozen=True)
class ChannelStart(TokenSolver):
    """The prior's reverse chain from the level of the channel.

    Args:
        sampler: Any sampler of tokens for the process; ancestral if not given.
        steps: Steps from τ to 0.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"memoryless", "unweighted", "channel"})

    sampler: TokenSampler | None = None
    steps: int = 64

    def __call__(
        self, problem: TokenProblem, streams: Streams, *, callback: Callback | None = None
    ) -> TokenDraws:
        problem = ready(type(self).__name__, self.needs, problem)
        found = as_state(problem)
        if found is None:
            raise UnsupportedError(type(self).__name__, "a level of the process", "there is none")
        y, level = found
        grid = float(level.t) * torch.linspace(1, 0, self.steps + 1, dtype=torch.float64)
        sampler = Ancestral() if self.sampler is None else self.sampler
        y = torch.where(Rows(problem).real, y, 0)
        x = run_tokens(
            sampler, problem.denoiser, y, grid, streams, condition=problem.condition,
            callback=callback,
        )  # fmt: skip
        return single(x)
