"""Confident places first (MaskGIT; Chang et al., 2022; LLaDA; Nie et al., 2025; Dream; Ye et al.).

A candidate is drawn for every hidden place, and only those that the denoiser is surest of are kept:

    probability    p(x̂_i)
    margin         the probability of the likeliest token less that of the second
    entropy        −H_i
    random         any place, at random

as many as the grid reveals in this step, and besides all whose confidence is above a threshold
(Fast-dLLM; Wu et al., 2025). It needs few steps and finds likely states, but is no draw from the
model's law: a candidate that is kept for being likely makes rare tokens rarer. The other orders do
not look at the candidates. At temperature 1 and one place at a time they are the chain rule, and
exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato import draws
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes.categorical import TokenLevel
from sfumato.samplers.tokens.base import MODE, Believe, TokenSampler
from sfumato.samplers.tokens.reveals import best, hidden_places, pick, share_revealed

__all__ = ["Confidence", "reveal_counts"]

SCORES = ("probability", "margin", "entropy", "random")


@dataclass(frozen=True)
class Confidence(TokenSampler):
    """Reveals a set number of places per step, the surest first; ties go to the first place.

    Args:
        score: What counts as sure: ``"probability"``, ``"margin"``, ``"entropy"`` or ``"random"``.
        temperature: Of the candidates; 0 takes the likeliest token, 1 draws from the belief. The
            confidence is always the belief's own.
        noise: Gumbel noise on the logarithm of the confidence, times the share that is still hidden
            after the step (MaskGIT's annealing: 4.5); 0 for none. On ``"margin"`` and
            ``"entropy"`` it is added to the score itself.
        threshold: Confidence above which places are revealed though the step has enough; none if
            not given. In the units of the score.

    Raises:
        InvalidOptionError: If an option makes no sense.
    """

    score: str = "probability"
    temperature: float = 0.0
    noise: float = 0.0
    threshold: float | None = None

    kind: ClassVar[str] = MODE
    summary: ClassVar[str] = (
        "a set number per step, the surest places first; few steps, low variety"
    )
    hides: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise InvalidOptionError("confidence", f"score={self.score!r}", f"use one of {SCORES}")
        if not (self.temperature >= 0 and self.noise >= 0):
            raise InvalidOptionError(
                "confidence", f"temperature={self.temperature}, noise={self.noise}",
                "use 0 or more",
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
        hidden = hidden_places(x_t, t, frozen)
        place, luck = draws.uniform(x_t, streams), draws.uniform(x_t, streams)
        if not bool(hidden.any()):
            return x_t
        beliefs = believe(x_t, t)
        tokens = pick(beliefs, hidden, place, self.temperature)
        sure = torch.full(x_t.shape, -torch.inf, dtype=torch.float64, device=x_t.device)
        sure[hidden] = self.confidence(beliefs.log_probs[hidden].double(), tokens, luck[hidden])
        chosen = best(self.shaken(sure, s, luck), hidden, reveal_counts(hidden, t, s))
        if self.threshold is not None:
            chosen = chosen | (hidden & (sure > self.threshold))
        candidates = x_t.masked_scatter(hidden, tokens)
        return torch.where(chosen, candidates, x_t)

    def confidence(self, log_p: Tensor, tokens: Tensor, luck: Tensor) -> Tensor:
        """The score of the hidden places, ``[hidden]``."""
        if self.score == "probability":
            return log_p.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).exp()
        if self.score == "margin":
            top = log_p.exp().topk(min(2, log_p.shape[-1]), dim=-1).values
            return top[..., 0] - top[..., 1:].sum(dim=-1)
        if self.score == "entropy":
            entropy: Tensor = torch.special.entr(log_p.exp()).sum(dim=-1)
            return -entropy
        return luck

    def shaken(self, sure: Tensor, s: TokenLevel, luck: Tensor) -> Tensor:
        """The score with annealed Gumbel noise."""
        if not self.noise or self.score == "random":
            return sure
        gumbel = -(-(1 - luck).log()).clamp(min=1e-300).log()
        base = sure.clamp(min=0).log() if self.score == "probability" else sure
        return base + self.noise * (1 - s.against(sure)) * gumbel


def reveal_counts(hidden: Tensor, t: TokenLevel, s: TokenLevel) -> Tensor:
    """How many of the hidden places of each item a step reveals, ``[batch]``.

    Their share of the hidden places, rounded up: at least one per step, and all by the end. On
    a uniform grid these are LLaDA's counts.
    """
    left = hidden.flatten(1).sum(dim=1)
    share = share_revealed(t, s, left)
    # a share such as (n − m)/n is off by a rounding, which must not make it one more
    exact = (left * share - 1e-6).ceil().long()
    return torch.where(share > 0, exact.clamp(min=1), 0).minimum(left)
