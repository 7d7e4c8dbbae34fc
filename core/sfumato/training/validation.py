"""How well the average of the weights does on data that were not trained on.

The loss of training, on a fixed set of items with fixed noise at times that are evenly spread over
the distribution of times. It is a function of the weights alone, so two validations differ by what
was learned and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import TokenNetwork
from sfumato.noise import Streams, derive
from sfumato.processes import log_snr
from sfumato.samplers import DDIM, run
from sfumato.samplers.tokens import Ancestral, run_tokens, uniform
from sfumato.training.configs import TrainConfig
from sfumato.training.feeds import Batch, Data, collate
from sfumato.training.objectives import Trainable, batch_losses

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["held_out", "pictures", "validate"]

STEPS = 24
"""Sampling steps of a picture."""


def held_out(data: Data) -> Data | None:
    """The data set to validate on, if ``data`` names one that is not empty."""
    method = getattr(data, "validation", None)
    found: Data | None = method() if method is not None else None
    return found if found is not None and len(found) else None


@torch.no_grad()
def validate(
    denoiser: Trainable,
    data: Data,
    config: TrainConfig,
    *,
    codec: Affine,
    accelerator: Accelerator,
) -> float:
    """Mean denoising error over ``config.validation_items`` items.

    Items are spread over the data if there are more, and seen several times, each time at other
    noise levels, if there are fewer. Processes share the work.

    Args:
        denoiser: With the weights to judge.
        data: To judge them on.
        config: Settings of the training run.
        codec: Physical to model units.
        accelerator: Whose processes take part.
    """
    settings = replace(config, seed=derive(config.seed, "validation"), label_dropout=0.0)
    total = torch.zeros((), dtype=torch.float64)
    for batch in items(data, settings, accelerator.process_index, accelerator.num_processes):
        place = torch.tensor(batch.numbers, dtype=torch.float64)
        # multiples of the golden ratio are evenly spread, in whatever order the items come
        u = (0.5 / config.validation_items + place * 0.6180339887498949) % 1
        total += batch_losses(denoiser, codec, batch, settings, u=u).error.double().sum().cpu()
    summed: Tensor = accelerator.reduce(total.to(accelerator.device, torch.float32), "sum")
    return summed.item() / config.validation_items


def items(data: Data, config: TrainConfig, rank: int, processes: int) -> Iterator[Batch]:
    """One process's share of the items, in batches."""
    count, n = config.validation_items, len(data)
    mine = list(range(rank, count, processes))
    for first in range(0, len(mine), config.batch):
        numbers = mine[first : first + config.batch]
        yield collate([(k, data.item(spread(k, count, n), source(config, k))) for k in numbers])


def spread(k: int, count: int, n: int) -> int:
    """Item ``k`` of ``count`` that are spread evenly over ``n``, or repeat if n is smaller."""
    return k * n // count if n >= count else k % n


def source(config: TrainConfig, k: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive(config.seed, "augment", k))


def pictures(denoiser: Trainable, data: Data, config: TrainConfig, *, codec: Affine) -> Tensor:
    """Samples in physical units, ``[config.samples, *x]``, from the same noise every time.

    Shapes and conditions are those of the first items of ``data``. Tokens stay tokens.
    """
    settings = replace(config, seed=derive(config.seed, "pictures"))
    likes: list[tuple[int, Any]] = [
        (k, data.item(k % len(data), source(settings, k))) for k in range(config.samples)
    ]
    batch = collate(likes)
    condition = {key: value.to(denoiser.device) for key, value in batch.condition.items()}
    if isinstance(denoiser, TokenNetwork):
        streams = Streams.count(settings.seed, len(likes))
        pure = denoiser.process.start(batch.x.shape, streams).to(denoiser.device)
        times = uniform(denoiser.process, STEPS)
        return run_tokens(Ancestral(), denoiser, pure, times, streams, condition=condition).cpu()
    blank = denoiser.process.analyse(batch.x.to(device=denoiser.device, dtype=denoiser.dtype))
    streams = Streams.count(settings.seed, len(likes))
    grid = log_snr(denoiser.process, STEPS)
    start = denoiser.process.start(blank, denoiser.process.level(grid[0]), streams)
    samples = run(DDIM(), denoiser, start, grid, streams, condition=condition or None)
    return codec.decode(denoiser.process.synthesise(samples)).cpu()
