"""One run of a token sampler from what is known, for the solvers that are built on one."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from sfumato import draws
from sfumato.denoisers.categorical import TokenDenoiser
from sfumato.inverse.problems import Callback
from sfumato.inverse.tokens.problems import TokenDraws
from sfumato.inverse.tokens.rows import Rows
from sfumato.noise import Streams
from sfumato.samplers.tokens.base import TokenSampler, absorbing, run_tokens

__all__ = ["fan", "single", "walk"]


def walk(
    rows: Rows,
    denoiser: TokenDenoiser,
    sampler: TokenSampler,
    steps: int,
    streams: Streams,
    callback: Callback | None = None,
) -> Int[Tensor, "rows *x"]:
    """Runs the reverse chain for every row, from the known tokens or, without masks, from noise.

    Args:
        rows: States of each item.
        denoiser: Whose beliefs are followed; takes all rows as its batch.
        sampler: The rule.
        steps: Steps of the grid, equal in time.
        streams: One stream per row.
        callback: Called after every step.
    """
    process, real = denoiser.process, rows.repeated(rows.real)
    condition = rows.problem.told(rows.item.tolist())
    grid = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    if absorbing(process):
        # what is known is shown from the start, so the chain starts where as much is shown
        known = (rows.real & ~rows.hidden).flatten(1).sum(dim=1).double()
        share = rows.repeated(known / rows.real.flatten(1).sum(dim=1).clamp(min=1)).cpu()
        grid = grid.unsqueeze(1) * process.survival.time_of(share)
        x, frozen = rows.repeated(rows.given), ~rows.repeated(rows.hidden)
    else:
        x = torch.where(real, process.start(real.shape, streams).to(real.device), 0)
        frozen = ~real
    return run_tokens(
        sampler, denoiser, x, grid, streams, frozen=frozen, condition=condition, callback=callback
    )


def fan(streams: Streams, count: int) -> Streams:
    """``count`` streams for every item, each derived from a number that the item's stream gives."""
    number = draws.uniform(torch.zeros(len(streams), 1), streams).squeeze(1)
    seeds = (number * 2**53).long().tolist()
    return Streams(streams.seed, [(seed, row) for seed in seeds for row in range(count)])


def single(x: Int[Tensor, "batch *x"]) -> TokenDraws:
    """Samples of a solver that knows neither evidence nor marginals."""
    nothing = torch.full((len(x),), torch.nan, dtype=torch.float64, device=x.device)
    return TokenDraws(x, nothing, nothing)
