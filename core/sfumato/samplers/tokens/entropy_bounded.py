"""Entropy-bounded unmasking (Ben-Hamu et al., 2025).

Places that are revealed together are drawn as if independent. The error of that, the divergence
between their joint law and the product, is at most

    Σ_{i ∈ S} H_i − max_{i ∈ S} H_i   nats.

So each step takes the places of least entropy, as many as keep this at or below γ: one where the
text is open, many where it is settled. The choice looks at entropies only, never at what was
drawn, so γ = 0 (one place at a time) is exact with the right beliefs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato import draws
from sfumato.denoisers.categorical import Beliefs
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes.categorical import TokenLevel
from sfumato.samplers.tokens.base import EXACT, Believe, TokenSampler
from sfumato.samplers.tokens.reveals import hidden_places, pick

__all__ = ["EntropyBounded", "within_bound"]


@dataclass(frozen=True)
class EntropyBounded(TokenSampler):
    """Reveals as many places per step as γ allows; all that are left in the last step.

    Give it a grid of as many steps as there are places: steps after the last reveal cost nothing.

    Args:
        gamma: Bound on the error of a step in nats, 0 or more.
        temperature: Of the tokens; 0 takes the likeliest, 1 draws from the belief.

    Raises:
        InvalidOptionError: If one of them is negative.
    """

    gamma: float = 0.1
    temperature: float = 1.0

    kind: ClassVar[str] = EXACT
    summary: ClassVar[str] = "as many places per step as an error of γ nats allows; exact at γ = 0"
    hides: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.gamma >= 0 and self.temperature >= 0):
            raise InvalidOptionError(
                "entropy-bounded", f"gamma={self.gamma}, temperature={self.temperature}",
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
        place = draws.uniform(x_t, streams)
        if not bool(hidden.any()):
            return x_t
        beliefs = believe(x_t, t)
        last = (s.against(x_t) == 1).expand(x_t.shape)
        which = hidden & (within_bound(beliefs, hidden, self.gamma) | last)
        return x_t.masked_scatter(which, pick(beliefs, which, place, self.temperature))


def within_bound(beliefs: Beliefs, hidden: Tensor, gamma: float) -> Tensor:
    """The hidden places of least entropy with Σ H − max H ≤ γ, ``[batch, *x]``; ties by index."""
    entropy = torch.full(hidden.shape, torch.inf, dtype=torch.float64, device=hidden.device)
    p = beliefs.log_probs[hidden].double().exp()
    entropy[hidden] = torch.special.entr(p).sum(dim=-1)
    rising, order = entropy.flatten(1).sort(dim=1, stable=True)
    # in rising order the largest is the last, and what counts is the sum before it
    before = torch.cat([torch.zeros_like(rising[:, :1]), rising[:, :-1]], dim=1).cumsum(dim=1)
    accepted = torch.zeros_like(order, dtype=torch.bool).scatter_(1, order, before <= gamma)
    return accepted.reshape(hidden.shape) & hidden
