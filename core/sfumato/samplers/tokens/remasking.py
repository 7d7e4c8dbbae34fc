"""Remasking (ReMDM; Wang et al., 2025): revealed tokens may be hidden again and drawn anew.

For any σ with 0 ≤ σ ≤ σ_max = min(1, (1 − α_s)/α_t) the step

    a revealed place is hidden again    with chance σ,
    a hidden place is revealed          with chance (α_s − (1 − σ) α_t)/(1 − α_t)

keeps the share α_s of revealed places, and is the reverse of a process with the same q(x_t | x₀).
Early mistakes can so be repaired, and more steps go on improving a denoiser that is not perfect.

    cap        σ = min(η, σ_max)
    rescale    σ = η σ_max
    conf       η σ_max on average, shared out as softmax(−ψ), ψ the probability with which a
               token was drawn: what was doubtful is revised first
    loop       σ = min(η, σ_max) where the grid stands still, 0 elsewhere (``grids.loop``)

η = 0 is the ancestral sampler. Whatever σ is, places that are revealed together are drawn apart;
the law is exact as the steps grow and η falls with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from sfumato import draws
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes.categorical import TINY, TokenLevel
from sfumato.samplers.tokens.base import EXACT, Believe, TokenSampler, process_of
from sfumato.samplers.tokens.reveals import hidden_places, pick

__all__ = ["Remasking"]

RULES = ("cap", "rescale", "conf", "loop")


@dataclass(frozen=True)
class Remasking(TokenSampler):
    """Reveals places and hides others again. Places that are known must be ``frozen``.

    Args:
        eta: η in [0, 1]; 0.008 to 0.04 suit ``"cap"`` and ``"loop"``.
        rule: How σ follows from η: ``"cap"``, ``"rescale"``, ``"conf"`` or ``"loop"``.

    Raises:
        InvalidOptionError: If an option makes no sense.
    """

    eta: float = 0.02
    rule: str = "cap"
    memory: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    kind: ClassVar[str] = EXACT
    summary: ClassVar[str] = "tokens may be hidden again and redrawn; repairs early mistakes"
    hides: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.rule not in RULES or not 0 <= self.eta <= 1:
            raise InvalidOptionError(
                "remasking", f"rule={self.rule!r}, eta={self.eta}",
                f"use 0 <= eta <= 1 and one of {RULES}",
            )  # fmt: skip

    def begin(self) -> Remasking:
        """A copy that remembers how sure it was of each token of this run."""
        return replace(self, memory={})

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
        shown = ~hidden & ~frozen
        sigma, mean = self.sigmas(shown, t, s)
        alpha_t, alpha_s = t.against(x_t), s.against(x_t)
        chance = (alpha_s - (1 - mean) * alpha_t) / (1 - alpha_t).clamp(min=TINY)
        u, place = draws.uniform(x_t, streams), draws.uniform(x_t, streams)
        which = hidden & (u < chance)
        x_s = x_t.masked_fill(shown & (u < sigma), process_of(t).tokens)
        if not bool(which.any()):
            return x_s
        beliefs = believe(x_t, t)
        tokens = pick(beliefs, which, place)
        if self.rule == "conf":
            log_p = beliefs.log_probs[which].gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
            self.sureness(x_t)[which] = log_p.double().exp()
        return x_s.masked_scatter(which, tokens)

    def sigmas(self, shown: Tensor, t: TokenLevel, s: TokenLevel) -> tuple[Tensor, Tensor]:
        """σ of every place and its mean over the revealed places of an item."""
        alpha_t, alpha_s = t.against(shown), s.against(shown)
        most = ((1 - alpha_s) / alpha_t.clamp(min=TINY)).clamp(max=1)
        if self.rule == "rescale":
            return self.eta * most, self.eta * most
        if self.rule == "conf":
            return self.shared(self.eta * most, shown)
        capped = most.clamp(max=self.eta)
        if self.rule == "loop":
            capped = torch.where(alpha_t == alpha_s, capped, 0.0)
        return capped, capped

    def shared(self, sigma: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
        """σ shared out among the revealed places so that the doubtful get more."""
        doubt = torch.where(shown, -self.sureness(shown), -torch.inf).flatten(1)
        weight = doubt.softmax(dim=1).nan_to_num(0.0)  # no place is revealed
        count = shown.flatten(1).sum(dim=1).reshape(-1, *(1,) * (shown.ndim - 1))
        each = (sigma * count * weight.reshape(shown.shape)).clamp(max=1)
        mean = each.flatten(1).sum(dim=1).reshape(count.shape) / count.clamp(min=1)
        return each, mean

    def sureness(self, like: Tensor) -> Tensor:
        """ψ of every place; 1 for tokens that this run has not drawn."""
        blank = torch.ones(like.shape, dtype=torch.float64, device=like.device)
        return self.memory.setdefault("psi", blank)
