"""First-hitting sampling of absorbing diffusion (Zheng et al., 2024).

With n places hidden at t, the next of them is revealed at the time τ with

    1 − α_τ = (1 − α_t) u^{1/n},        u uniform,

and each of the n is equally likely to be it. Drawing these times instead of waiting for them takes
exactly one network call per place and has exactly the law of ancestral sampling with infinitely
many steps, whatever the grid. Nothing is ever revealed together, so with the right beliefs the
samples are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sfumato import draws
from sfumato.denoisers.categorical import Beliefs
from sfumato.noise import Streams
from sfumato.processes.categorical import Categorical, TokenLevel
from sfumato.samplers.tokens.base import EXACT, Believe, TokenSampler, process_of
from sfumato.samplers.tokens.reveals import hidden_places, pick

__all__ = ["FirstHitting"]


@dataclass(frozen=True)
class FirstHitting(TokenSampler):
    """One place per network call, at the times at which the process would reveal them.

    A step makes all reveals that fall between its levels; the grid decides only how often a
    callback is called. Items of a batch reveal together, each at its own times, so a grid of one
    step takes as many calls as the item with the most places; finer ones take more.
    """

    kind: ClassVar[str] = EXACT
    summary: ClassVar[str] = "one place per network call, at random times; exact"
    hides: ClassVar[bool] = True

    def step(
        self,
        believe: Believe,
        x_t: Tensor,
        t: TokenLevel,
        s: TokenLevel,
        frozen: Tensor,
        streams: Streams,
    ) -> Tensor:
        noise = (1 - t.alpha).expand(len(x_t)).clone()
        end = (1 - s.alpha).expand(len(x_t))
        going = torch.ones(len(x_t), dtype=torch.bool)
        while True:
            hidden = hidden_places(x_t, t, frozen)
            left = hidden.flatten(1).sum(dim=1).cpu()
            going &= left > 0
            u = numbers(going, streams)
            reached = noise * (1 - u[:, 0]) ** (1 / left.clamp(min=1))
            going &= reached > end
            if not bool(going.any()):
                return x_t
            noise = torch.where(going, reached, end)
            beliefs = believe(x_t, level(process_of(t), noise))
            x_t = reveal_one(beliefs, x_t, hidden, left, going, u)


def numbers(going: Tensor, streams: Streams) -> Tensor:
    """Three numbers in [0, 1) for each item that goes on; the others draw nothing."""
    found = torch.zeros(len(going), 3, dtype=torch.float64)
    index = going.nonzero().squeeze(1).tolist()
    found[going] = draws.uniform(found[going], streams.select(index))
    return found


def level(process: Categorical, noise: Tensor) -> TokenLevel:
    """The level of each item at which the share 1 − α is hidden."""
    alpha = 1 - noise
    return TokenLevel(process.survival.time_of(alpha), alpha, process)


def reveal_one(
    beliefs: Beliefs, x_t: Tensor, hidden: Tensor, left: Tensor, going: Tensor, u: Tensor
) -> Tensor:
    """Reveals one place, each equally likely, of the items that go on."""
    flat = hidden.flatten(1)
    nth = (u[:, 1] * left).floor().long().clamp(max=(left - 1).clamp(min=0)) + 1
    at = flat & (flat.cumsum(dim=1) == nth.to(flat.device).unsqueeze(1))
    which = (at & going.to(flat.device).unsqueeze(1)).reshape(x_t.shape)
    places = u[:, 2].to(x_t.device).reshape(-1, *(1,) * (x_t.ndim - 1)).expand(x_t.shape)
    return x_t.masked_scatter(which, pick(beliefs, which, places))
