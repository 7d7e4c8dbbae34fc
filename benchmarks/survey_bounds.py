"""What chains of reverse kernels cost in the variational bound, by variance and by grid."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import sfumato as sf
from digit_reader import read
from sfumato.denoisers import mean_square_errors
from sfumato.noise import Streams
from sfumato.processes import Gaussian
from sfumato.processes.grids import GRIDS
from sfumato.samplers.planning import path_cost, shortest, step_costs
from survey_targets import ring

__all__ = ["bounds"]

STEPS = (5, 10, 20, 50)
FINE = 100
BITS = 8


def bounds(archive: Path | None, items: int) -> list[dict[str, Any]]:
    """Rows for the ring and, if there is an archive, for held-out digits.

    Args:
        archive: The digits.
        items: Draws of the ring.
    """
    target = ring(items)
    assert target.data is not None
    process = target.denoiser.process
    times = GRIDS["karras"](process, FINE)
    streams = Streams.count(3, items)
    errors = mean_square_errors(target.denoiser, target.data, times[:-1], streams)
    entropy = -float(target.denoiser.log_prob(target.data, process.level(0.0)).mean())  # type: ignore[attr-defined]
    rows = chains(f"ring, nats ({entropy:.3f} is exact)", process, times, errors, scale=2.0)
    return rows if archive is None else [*rows, *on_digits(archive)]


def on_digits(archive: Path, count: int = 200) -> list[dict[str, Any]]:
    """Bits per pixel of held-out digits, with uniform noise to fill the 256 steps of grey."""
    prior = sf.Prior.load("digits", plugin="image")
    *_, x, label = read(archive)
    streams = Streams.count(4, count)
    grey = (x[:count] * (2**BITS - 1)).round()
    data = prior.codec.encode((grey + streams.uniform(grey)) / 2**BITS)
    times = GRIDS["karras"](prior.process, FINE // 2)
    errors = mean_square_errors(
        prior.sized((1, 28, 28)), data, times[:-1], streams, condition={"label": label[:count]}
    )
    # a step of grey is this wide in model units
    width = float(
        prior.codec.encode(torch.tensor(2.0**-BITS)) - prior.codec.encode(torch.zeros(()))
    )
    offset = -math.log2(width)
    where = f"digits, bits per pixel ({count} held out, given their class)"
    return chains(where, prior.process, times, errors, scale=1 / math.log(2), offset=offset)


def chains(
    where: str,
    process: Gaussian,
    times: Tensor,
    errors: Tensor,
    *,
    scale: float,
    offset: float = 0.0,
) -> list[dict[str, Any]]:
    """One row per variance and kind of grid; ``scale`` turns nats per element into the unit."""
    count = len(times) - 1
    rows = []
    for variance in ("small", "large", "analytic"):
        costs = step_costs(process, times, errors, variance=variance)
        for grid in ("even", "dynamic"):
            row: dict[str, Any] = {
                "problem": "bounds", "name": where, "chain": f"{variance}, {grid} grid"
            }  # fmt: skip
            for steps in STEPS:
                if steps <= count:
                    even = [round(k) for k in torch.linspace(0, count - 1, steps).tolist()]
                    path = shortest(costs, steps) if grid == "dynamic" else [*even, count]
                    row[f"steps{steps}"] = scale * float(path_cost(costs, path)) + offset
            rows.append(row)
    return rows
