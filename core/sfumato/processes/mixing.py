"""Processes that replace a token by a draw from a fixed distribution π.

    q(x_t | x_s) = a δ(x_s) + (1 − a) π,        a = α_t/α_s.

π all on MASK is absorbing diffusion, π uniform is uniform diffusion, a mixture of both the hybrid,
and π the data's own frequencies the marginal process (Austin et al., 2021; Vignac et al., 2023).
Rows of all transition matrices have this form, so nothing costs more than O(K) per place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfumato import draws
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes.categorical import TINY, Categorical, TokenLevel, against, alive
from sfumato.processes.survivals import LinearSurvival, Survival

__all__ = ["Absorbing", "Hybrid", "Marginal", "Mixing", "Uniform"]


@dataclass(frozen=True)
class Mixing(Categorical):
    """Tokens that die are replaced by a draw from π.

    Args:
        tokens: K.
        frequencies: π of the K tokens and, if there is one more entry, of MASK; sums to 1.
        survival: α(t).
    """

    tokens: int
    frequencies: tuple[float, ...]
    survival: Survival = field(default_factory=LinearSurvival)

    def __post_init__(self) -> None:
        pi = tuple(float(p) for p in self.frequencies)
        if len(pi) not in (self.tokens, self.tokens + 1) or min(pi) < 0 or abs(sum(pi) - 1) > 1e-6:
            raise InvalidOptionError(
                "process", f"{len(pi)} frequencies that sum to {sum(pi):.6g}",
                f"give {self.tokens} or {self.tokens + 1} that are not negative and sum to 1",
            )  # fmt: skip
        object.__setattr__(self, "frequencies", tuple(p / sum(pi) for p in pi))

    @property
    def mask(self) -> int | None:
        return self.tokens if len(self.frequencies) > self.tokens else None

    def pi(self, device: torch.device | str = "cpu") -> Tensor:
        """π, in float64."""
        return torch.tensor(self.frequencies, dtype=torch.float64, device=device)

    def corrupt(self, x_0: Tensor, t: TokenLevel, streams: Streams) -> Tensor:
        return self.replace(x_0, t.against(x_0), streams)

    def renoise(self, x_s: Tensor, s: TokenLevel, t: TokenLevel, streams: Streams) -> Tensor:
        return self.replace(x_s, against(alive(s, t), x_s), streams)

    def replace(self, x: Tensor, alive: Tensor, streams: Streams) -> Tensor:
        """Keeps each token with chance ``alive``, and draws the others from π."""
        dead = draws.uniform(x, streams) >= alive
        return torch.where(dead, self.noise(x, streams), x)

    def noise(self, like: Tensor, streams: Streams) -> Tensor:
        """Draws from π, shaped as ``like``."""
        if self.frequencies[-1] == 1:
            return torch.full_like(like, len(self.frequencies) - 1)
        ends = self.pi(like.device).cumsum(dim=0)
        place = draws.uniform(like, streams) * ends[-1]
        return torch.searchsorted(ends, place, right=True).clamp(max=self.states - 1)

    def start(self, shape: Sequence[int], streams: Streams) -> Tensor:
        return self.noise(torch.zeros(tuple(shape), dtype=torch.long), streams)

    def log_likelihood(self, x_t: Tensor, t: TokenLevel) -> Tensor:
        alpha = t.against(x_t)
        other = ((1 - alpha) * self.pi(x_t.device)[x_t]).unsqueeze(-1)
        found = other.expand(*x_t.shape, self.tokens).clone()
        seen = x_t < self.tokens
        index = x_t.clamp(max=self.tokens - 1).unsqueeze(-1)
        found.scatter_add_(-1, index, (alpha * seen).unsqueeze(-1).to(found))
        return found.log()

    def reverse(self, log_probs: Tensor, x_t: Tensor, t: TokenLevel, s: TokenLevel) -> Tensor:
        stay, clean, noise = self.weights(log_probs, x_t, t, s)
        found = noise.unsqueeze(-1) * self.pi(x_t.device)
        found[..., : self.tokens] += clean
        return found.scatter_add_(-1, x_t.unsqueeze(-1), stay.unsqueeze(-1))

    def weights(
        self, log_probs: Tensor, x_t: Tensor, t: TokenLevel, s: TokenLevel
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The three ways in which x_s may have come about, as probabilities.

        Expanding q(x_t | x_s) q(x_s | v)/q(x_t | v) in its four terms, x_s is x_t itself (nothing
        happened since), the clean token v (which died after s), or noise (v died before s and the
        noise after it).

        Returns:
            stay: ``[batch, *x]``; clean: ``[batch, *x, tokens]``; noise: ``[batch, *x]``. Their sum
            over all is 1.
        """
        alpha_s, a = s.against(x_t), against(alive(s, t), x_t)
        pi = self.pi(x_t.device)[x_t]
        seen = x_t < self.tokens
        share = self.share(log_probs, x_t, t)
        own = share.gather(-1, x_t.clamp(max=self.tokens - 1).unsqueeze(-1)).squeeze(-1) * seen
        everything = share.sum(dim=-1)
        clean = ((1 - a) * pi * alpha_s).unsqueeze(-1) * share
        stay = a * alpha_s * own + a * (1 - alpha_s) * pi * everything
        noise = (1 - a) * pi * (1 - alpha_s) * everything
        return stay, clean, noise

    def prior(self) -> Tensor:
        return self.pi()

    def inflow(self, x_t: Tensor) -> Tensor:
        rate = self.pi(x_t.device)[x_t].unsqueeze(-1).repeat(*(1,) * x_t.ndim, self.states)
        return rate.scatter_(-1, x_t.unsqueeze(-1), 0.0)

    def ratios(self, log_probs: Tensor, x_t: Tensor, t: TokenLevel) -> Tensor:
        share, alpha = self.share(log_probs, x_t, t), t.against(x_t).unsqueeze(-1)
        found = (1 - alpha) * share.sum(dim=-1, keepdim=True) * self.pi(x_t.device)
        clean = alpha * share
        return found + torch.nn.functional.pad(clean, (0, self.states - self.tokens))

    def step(
        self, log_probs: Tensor, x_t: Tensor, t: TokenLevel, s: TokenLevel, streams: Streams
    ) -> Tensor:
        if self.frequencies[-1] == 1 and self.mask is not None:
            return self.reveal(log_probs, x_t, t, s, streams)
        stay, clean, noise = self.weights(log_probs, x_t, t, s)
        settled = clean.sum(dim=-1)
        place = draws.uniform(x_t, streams) * (stay + settled + noise)
        x_s = torch.where(place < stay, x_t, draws.choose(clean, streams))
        return torch.where(place >= stay + settled, self.noise(x_t, streams), x_s)

    def reveal(
        self, log_probs: Tensor, x_t: Tensor, t: TokenLevel, s: TokenLevel, streams: Streams
    ) -> Tensor:
        """``step`` where all noise is MASK: hidden tokens appear with chance (α_s − α_t)/(1 − α_t).

        Beliefs are read only at the places that appear, so many small steps cost little more than
        one.
        """
        alpha_s, alpha_t = s.against(x_t), t.against(x_t)
        chance = (alpha_s - alpha_t) / (1 - alpha_t).clamp(min=TINY)
        appears = (draws.uniform(x_t, streams) < chance) & (x_t == self.tokens)
        u = draws.uniform(x_t, streams)[appears]
        x_s = x_t.clone()
        x_s[appears] = draws.invert_logs(log_probs[appears], u)
        return x_s

    def matrix(self, s: TokenLevel, t: TokenLevel) -> Tensor:
        a = alive(s, t)
        return a * torch.eye(self.states, dtype=torch.float64) + (1 - a) * self.pi()


def Absorbing(tokens: int, survival: Survival | None = None) -> Mixing:  # noqa: N802
    """Tokens are hidden, one by one: π is all on MASK."""
    return Mixing(tokens, (0.0,) * tokens + (1.0,), survival or LinearSurvival())


def Uniform(tokens: int, survival: Survival | None = None) -> Mixing:  # noqa: N802
    """Tokens are replaced by any token: π is uniform."""
    return Mixing(tokens, (1 / tokens,) * tokens, survival or LinearSurvival())


def Hybrid(  # noqa: N802
    tokens: int, uniform: float = 0.1, survival: Survival | None = None
) -> Mixing:
    """A share ``uniform`` of the dead tokens becomes any token, the others are hidden."""
    return Mixing(
        tokens, (uniform / tokens,) * tokens + (1 - uniform,), survival or LinearSurvival()
    )


def Marginal(  # noqa: N802
    frequencies: Sequence[float], survival: Survival | None = None
) -> Mixing:
    """Tokens are replaced by draws from the data's own frequencies (Vignac et al., 2023)."""
    return Mixing(len(frequencies), tuple(frequencies), survival or LinearSurvival())
