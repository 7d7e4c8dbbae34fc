"""The reverse chain itself (D3PM; Austin et al., 2021, and MDLM; Sahoo et al., 2024).

    x_s,i ~ Σ_v q(x_s,i | x_t,i, x₀,i = v) p(x₀,i = v | x_t),      every place by itself.

Given x_t the places of x_s are not independent, so a step that changes several places at once is
wrong by their dependence. As the steps shrink no two change together, and the law is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sfumato import draws
from sfumato.noise import Streams
from sfumato.processes.categorical import TokenLevel
from sfumato.samplers.tokens.base import EXACT, Believe, TokenSampler, absorbing, process_of
from sfumato.samplers.tokens.reveals import hidden_places, reveal, share_revealed, sound

__all__ = ["Ancestral"]


@dataclass(frozen=True)
class Ancestral(TokenSampler):
    """Draws from the process's own reverse step; for any process.

    Where tokens are only hidden, which places are revealed does not depend on the belief, so a step
    that reveals nothing costs no network call.
    """

    kind: ClassVar[str] = EXACT
    summary: ClassVar[str] = "the process's own reverse steps; exact as steps grow"

    def step(
        self,
        believe: Believe,
        x_t: Tensor,
        t: TokenLevel,
        s: TokenLevel,
        frozen: Tensor,
        streams: Streams,
    ) -> Tensor:
        process = process_of(t)
        if absorbing(process):
            chance = share_revealed(t, s, x_t)
            which = (draws.uniform(x_t, streams) < chance) & hidden_places(x_t, t, frozen)
            return reveal(believe, x_t, t, which, streams)
        return process.step(sound(believe(x_t, t).log_probs), x_t, t, s, streams)
