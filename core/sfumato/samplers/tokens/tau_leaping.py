"""τ-leaping of the reverse jump process (Campbell et al., 2022, § 4.3).

In continuous time a place in state x jumps to y ≠ x at the rate

    R̂_t(x → y) = R_t(y → x) Σ_v q_t(y | v)/q_t(x | v) p(v | x_t).

A leap holds all rates for the length of a step. Tokens have no order, so of several jumps of one
place in a step only the first means anything: the place changes with chance 1 − exp(−Σ_y R̂ τ), and
goes to y with odds R̂(x → y).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato import draws
from sfumato.errors import UnsupportedError
from sfumato.noise import Streams
from sfumato.processes.categorical import Categorical, TokenLevel
from sfumato.processes.matrix import Steps
from sfumato.samplers.tokens.base import EXACT, Believe, TokenSampler, process_of
from sfumato.samplers.tokens.reveals import sound

__all__ = ["TauLeaping", "expected_jumps"]


@dataclass(frozen=True)
class TauLeaping(TokenSampler):
    """Holds the jump rates of every place for a step; for any process in continuous time.

    The last step, to clean data, is an ancestral one: rates held up to t = 0 would leave tokens
    hidden.
    """

    kind: ClassVar[str] = EXACT
    summary: ClassVar[str] = "jump rates held for a step; error of first order in its length"

    def check(self, process: Categorical) -> None:
        if isinstance(process, Steps):
            raise UnsupportedError(
                "TauLeaping", "a process in continuous time", "Steps has discrete steps",
                ["Ancestral", "PredictorCorrector"],
            )  # fmt: skip

    def step(
        self,
        believe: Believe,
        x_t: Tensor,
        t: TokenLevel,
        s: TokenLevel,
        frozen: Tensor,
        streams: Streams,
    ) -> Tensor:
        log_probs = sound(believe(x_t, t).log_probs)
        if s.clean:
            return process_of(t).step(log_probs, x_t, t, s, streams)
        jumps = expected_jumps(log_probs, x_t, t, s)
        chance = -torch.expm1(-jumps.sum(dim=-1))
        leaves = draws.uniform(x_t, streams) < chance
        return torch.where(leaves, draws.choose(jumps, streams), x_t)


def expected_jumps(log_probs: Tensor, x_t: Tensor, t: TokenLevel, s: TokenLevel) -> Tensor:
    """(t − s) R̂_t(x → y) for every state y, 0 for y = x: ``[batch, *x, states]``, float64.

    At pure noise the rates of processes that replace tokens are infinite, and those of absorbing
    ones a limit 0 · ∞; an α that is not quite 0 gives both.
    """
    process = process_of(t)
    alpha = t.alpha.clamp(min=1e-12)
    near = TokenLevel(t.t, alpha, process)
    hazard = -process.survival.slope(t.t) / alpha * (t.t - s.t)
    shaped = TokenLevel(t.t, hazard).against(x_t).unsqueeze(-1)
    return shaped * process.inflow(x_t) * process.ratios(log_probs, x_t, near)
