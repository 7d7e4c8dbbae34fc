"""The laws of a sampler of tokens.

places that are frozen or not there stay as they are, and no other place is left hidden
an item alone = the item in its batch, whatever its neighbours need
the state that came in and the global random generator are not touched
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from sfumato.denoisers import Beliefs, TokenDenoiser
from sfumato.denoisers.base import Condition
from sfumato.noise import Streams
from sfumato.processes import Absorbing, Categorical, TokenLevel
from sfumato.samplers.tokens import TokenSampler, run_tokens, uniform
from sfumato.testing.comparisons import require

__all__ = ["check_token_sampler"]

SHAPE, BATCH = (3, 4), 5


def check_token_sampler(
    sampler: TokenSampler, *, process: Categorical | None = None, grid: Tensor | None = None
) -> None:
    """Checks every law above on states with two axes.

    Args:
        sampler: What to check.
        process: Process to sample under; an absorbing one if not given.
        grid: Times that end in 0; 12 steps uniform in t if not given.

    Raises:
        AssertionError: Naming the law that does not hold.
        UnsupportedError: If the sampler is not made for the process.
    """
    process = process or Absorbing(5)
    times = uniform(process, 12) if grid is None else grid
    before = torch.get_rng_state()
    check_still(sampler, process, times)
    untouched = torch.equal(before, torch.get_rng_state())
    require(untouched, sampler, "the global random generator is not touched")
    check_alone(sampler, process, times)


@dataclass(frozen=True, eq=False)
class Wave(TokenDenoiser):
    """Beliefs that depend on all tokens of an item, and mean nothing; the sharper, the surer."""

    process: Categorical
    sharpness: float = 1.5
    takes_time: bool = field(default=False)

    def __call__(self, x_t: Tensor, t: TokenLevel, condition: Condition = None) -> Beliefs:
        flat, K = x_t.flatten(1).double(), self.process.tokens
        wave = torch.arange(1, flat.shape[1] + 1, dtype=torch.float64)
        phase = (flat * wave.sqrt()).sum(dim=1, keepdim=True) + wave * 2.3
        logits = self.sharpness * torch.sin(phase.unsqueeze(-1) * torch.arange(1, K + 1))
        return Beliefs(logits.log_softmax(dim=-1).reshape(*x_t.shape, K))


def check_still(sampler: TokenSampler, process: Categorical, grid: Tensor) -> None:
    streams = Streams.count(1, BATCH)
    x = process.start((BATCH, *SHAPE), streams)
    frozen, valid = torch.zeros_like(x, dtype=torch.bool), torch.ones_like(x, dtype=torch.bool)
    x[:, 0, :2], frozen[:, 0, :3] = 1, True  # two known tokens, and one that stays noise
    x[:, 2, 2], valid[:, 2, 1:] = 2, False
    given = x.clone()
    condition = {"valid": valid}
    found = run_tokens(sampler, Wave(process), x, grid, streams, frozen=frozen, condition=condition)
    still = frozen | ~valid
    require(torch.equal(x, given), sampler, "the state that comes in is not changed")
    require(
        torch.equal(found[still], x[still]), sampler, "places that are frozen or not there stay"
    )
    clean = found[~still] < process.tokens
    require(bool(clean.all()), sampler, "no place is left hidden", f"{int((~clean).sum())} are")


def check_alone(sampler: TokenSampler, process: Categorical, grid: Tensor) -> None:
    together = samples(sampler, process, grid, 0, BATCH)
    for item in range(BATCH):
        alone = samples(sampler, process, grid, item, 1)[0]
        same = torch.equal(alone, together[item])
        require(same, sampler, "an item does not depend on its neighbours", f"item {item} does")


def samples(
    sampler: TokenSampler, process: Categorical, grid: Tensor, first: int, count: int
) -> Tensor:
    """Two runs on the same streams, so that what the first left of them shows in the second."""
    streams = Streams.count(7, count, first=first)
    x = process.start((count, *SHAPE), streams)
    frozen = torch.zeros_like(x, dtype=torch.bool)
    for row in range(count):
        frozen[row, 0, : first + row] = True  # items end after different numbers of calls
    denoiser = Wave(process)
    runs = [
        run_tokens(sampler, denoiser, x, grid, streams, frozen=frozen),
        run_tokens(sampler, denoiser, x, grid, streams),
    ]
    return torch.cat(runs, dim=-1)
