"""Predictor–corrector sampling of tokens: steps to the next level, then stays there and mixes.

A corrector leaves p_s as it is, so whatever its state it brings it closer to the right law. Two:

    gibbs               takes some places at random and redraws them given all others:
                        x_i ~ Σ_v q_s(x | v) p(x₀,i = v | x_s without place i)
    forward-backward    goes back up to t by the process, and down again by the predictor
                        (Campbell et al., 2022, § 4.4)

For absorbing processes the belief without a place's own token is not known where it is revealed.
There the Gibbs corrector takes x₀,i given all of x_s instead: the token stays and is hidden again
with chance 1 − α_s, which also leaves p_s as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from sfumato import draws
from sfumato.denoisers.categorical import Beliefs
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes.categorical import Categorical, TokenLevel
from sfumato.samplers.tokens.ancestral import Ancestral
from sfumato.samplers.tokens.base import EXACT, Believe, TokenSampler, process_of
from sfumato.samplers.tokens.reveals import best, pick

__all__ = ["PredictorCorrector"]

CORRECTORS = ("gibbs", "forward-backward")


@dataclass(frozen=True)
class PredictorCorrector(TokenSampler):
    """Any sampler with corrections after each of its steps but the last.

    Args:
        predictor: The sampler that goes to the next level.
        corrector: How to mix at a level: ``"gibbs"`` or ``"forward-backward"``.
        corrections: How often, one network call each, 1 or more.
        places: How many places of an item a Gibbs correction redraws, 1 or more. One is exact;
            more are redrawn as if independent.

    Raises:
        InvalidOptionError: If an option makes no sense.
    """

    predictor: TokenSampler = field(default_factory=Ancestral)
    corrector: str = "gibbs"
    corrections: int = 1
    places: int = 1

    kind: ClassVar[str] = EXACT
    summary: ClassVar[str] = "mixes at every level after stepping to it; corrects too few steps"

    def __post_init__(self) -> None:
        if self.corrector not in CORRECTORS or min(self.corrections, self.places) < 1:
            raise InvalidOptionError(
                "predictor-corrector",
                f"corrector={self.corrector!r}, corrections={self.corrections}, "
                f"places={self.places}",
                f"use one of {CORRECTORS} and 1 or more",
            )  # fmt: skip

    def begin(self) -> TokenSampler:
        return replace(self, predictor=self.predictor.begin())

    def check(self, process: Categorical) -> None:
        self.predictor.check(process)

    def step(
        self,
        believe: Believe,
        x_t: Tensor,
        t: TokenLevel,
        s: TokenLevel,
        frozen: Tensor,
        streams: Streams,
    ) -> Tensor:
        x = torch.where(frozen, x_t, self.predictor.step(believe, x_t, t, s, frozen, streams))
        if s.clean:
            return x
        for _ in range(self.corrections):
            if self.corrector == "gibbs":
                x = self.redraw(believe(x, s), x, s, frozen, streams)
            else:
                noisy = torch.where(frozen, x, process_of(s).renoise(x, s, t, streams))
                back = self.predictor.step(believe, noisy, t, s, frozen, streams)
                x = torch.where(frozen, noisy, back)
        return x

    def redraw(
        self, beliefs: Beliefs, x: Tensor, s: TokenLevel, frozen: Tensor, streams: Streams
    ) -> Tensor:
        """One Gibbs correction."""
        process = process_of(s)
        score, place = draws.uniform(x, streams), draws.uniform(x, streams)
        noisy = (s.against(x) < 1).expand(x.shape)
        which = best(score, ~frozen & noisy, self.places)
        others = Beliefs(process.leave_one_out(beliefs.log_probs.double(), x, s))
        clean = torch.zeros_like(x).masked_scatter(which, pick(others, which, place))
        return torch.where(which, process.corrupt(clean, s, streams), x)
