"""Discrete DDIM (Song et al., 2021, appendix A): noise that is kept instead of drawn anew.

For every σ with 0 ≤ σ ≤ (1 − α_s)/(1 − α_t)

    q_σ(x_s | x_t, x₀) = σ δ(x_t) + (α_s − σ α_t) δ(x₀) + ((1 − α_s) − (1 − α_t) σ) π

has the process's own q(x_s | x₀). With x̂₀ ~ p(x₀ | x_t) for x₀ it is a sampler. η says how much of
the noise is drawn anew: σ = (1 − η)(1 − α_s)/(1 − α_t). At η = 0 a place keeps what it has until it
takes its clean token, so states change least often and few steps do. For absorbing processes that
is the ancestral sampler.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato import draws
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes.categorical import TINY, Categorical, TokenLevel
from sfumato.processes.mixing import Mixing
from sfumato.samplers.tokens.base import EXACT, Believe, TokenSampler, process_of
from sfumato.samplers.tokens.reveals import reveal

__all__ = ["DiscreteDDIM"]


@dataclass(frozen=True)
class DiscreteDDIM(TokenSampler):
    """Steps with shared noise, for processes that replace tokens by draws from one π.

    Args:
        eta: Share of the noise that is drawn anew in each step, in [0, 1]. Exact as steps grow for
            0 only: noise that is renewed makes places change together however short the step.

    Raises:
        InvalidOptionError: If ``eta`` is not in [0, 1].
    """

    eta: float = 0.0

    kind: ClassVar[str] = EXACT
    summary: ClassVar[str] = "keeps the noise it has until a token is taken; for few steps"

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise InvalidOptionError("discrete DDIM", f"eta={self.eta}", "use 0 <= eta <= 1")

    def check(self, process: Categorical) -> None:
        if not isinstance(process, Mixing):
            raise UnsupportedError(
                "DiscreteDDIM", "a process that replaces tokens by draws from one distribution",
                f"this one is {type(process).__name__}", ["Ancestral", "TauLeaping"],
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
        process = process_of(t)
        assert isinstance(process, Mixing)  # others were refused
        alpha_t, alpha_s = t.against(x_t), s.against(x_t)
        keep = (1 - self.eta) * (1 - alpha_s) / (1 - alpha_t).clamp(min=TINY)
        keep = torch.where(alpha_t < 1, keep, 1.0)  # clean already
        u = draws.uniform(x_t, streams)
        takes = (u >= keep) & (u < keep + alpha_s - keep * alpha_t) & ~frozen
        noise = process.noise(x_t, streams)
        x_s = reveal(believe, x_t, t, takes, streams)
        return torch.where(takes | (u < keep), x_s, noise)
