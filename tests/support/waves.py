"""A denoiser of tokens that remembers what it was asked, and one run of a sampler with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from sfumato.denoisers import Beliefs
from sfumato.denoisers.base import Condition
from sfumato.noise import Streams
from sfumato.processes import Absorbing, TokenLevel
from sfumato.samplers.tokens import TokenSampler, run_tokens
from sfumato.testing.token_samplers import Wave

__all__ = ["PLACES", "SHAPE", "K", "Network", "ran"]

K, SHAPE = 5, (3, 4)
PLACES = math.prod(SHAPE)


@dataclass(frozen=True, eq=False)
class Network(Wave):
    """Beliefs without meaning, and the states that it was asked about."""

    calls: list[Tensor] = field(default_factory=list)

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: Condition = None) -> Beliefs:
        self.calls.append(x_t)
        return super().__call__(x_t, t, condition)


def ran(
    sampler: TokenSampler, grid: Tensor, *, items: int = 4, seed: int = 0, sharpness: float = 1.5
) -> tuple[Tensor, list[int]]:
    """The samples of an absorbing process, and how many places were hidden at each network call."""
    process, streams = Absorbing(K), Streams.count(seed, items)
    network = Network(process, sharpness)
    x = run_tokens(sampler, network, process.start((items, *SHAPE), streams), grid, streams)
    return x, [int((call[0] == K).sum()) for call in network.calls]
