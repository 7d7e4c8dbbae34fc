"""The laws of a sampler.

On data N(m, v) with the exact denoiser, a sampler with enough steps returns N(m, v). It does so in
the precision of its input, without the global random generator, and item by item: a sample depends
on its own stream only, and on none if the sampler says that it adds no noise.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sfumato.denoisers import Denoiser
from sfumato.denoisers.exact import GaussianPrior
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian, log_snr
from sfumato.samplers import Sampler, run
from sfumato.testing.comparisons import agree, require

__all__ = ["check_sampler"]

MEAN, VARIANCE = 0.7, 0.25
SIZE = 4096


def check_sampler(
    sampler: Sampler,
    *,
    process: Gaussian | None = None,
    steps: int = 200,
    bias: float = 0.03,
) -> None:
    """Checks every law above on independent Gaussian elements.

    Args:
        sampler: What to check.
        process: Process to sample under; EDM's if not given.
        steps: Steps of the grid, uniform in log-SNR.
        bias: Largest error of mean and standard deviation, in standard deviations of the data, that
            is left at this number of steps; five standard errors are allowed besides.

    Raises:
        AssertionError: Naming the law that does not hold.
    """
    process = process or Gaussian(EDM())
    target = gaussian(process, (SIZE,))
    grid = log_snr(process, steps)
    before = torch.get_rng_state()
    x = draw(sampler, target, grid, Streams.count(0, 1), torch.float32)
    untouched = torch.equal(before, torch.get_rng_state())
    require(untouched, sampler, "the global random generator is not touched")
    require(x.dtype == torch.float32, sampler, "single precision stays single", str(x.dtype))
    check_law(sampler, x, bias)
    check_independence(sampler, process)
    check_noise(sampler, process)


def gaussian(process: Gaussian, shape: tuple[int, ...]) -> Denoiser:
    mean = torch.full(shape, MEAN, dtype=torch.float64)
    return GaussianPrior(process, mean, torch.full(shape, VARIANCE, dtype=torch.float64))


def draw(
    sampler: Sampler, denoiser: Denoiser, grid: Tensor, streams: Streams, dtype: torch.dtype
) -> Tensor:
    process = denoiser.process
    shape = denoiser.shape  # type: ignore[attr-defined]
    blank = torch.zeros(len(streams), *shape, dtype=dtype)
    x = process.start(blank, process.level(grid[0]), streams)
    return run(sampler, denoiser, x, grid, streams)


def check_law(sampler: Sampler, x: Tensor, bias: float) -> None:
    std = math.sqrt(VARIANCE)
    allowed = std * (bias + 5 / math.sqrt(SIZE))
    for name, found, expected in (("mean", x.mean(), MEAN), ("standard deviation", x.std(), std)):
        require(
            abs(float(found) - expected) <= allowed, sampler, f"samples have the data's {name}",
            f"{float(found):.4f}, expected {expected:.4f} ± {allowed:.4f}",
        )  # fmt: skip


def check_independence(sampler: Sampler, process: Gaussian) -> None:
    target, grid = gaussian(process, (5, 3)), log_snr(process, 6)
    together = draw(sampler, target, grid, Streams.count(7, 3), torch.float64)
    require(together.dtype == torch.float64, sampler, "double precision stays double")
    for i in range(3):
        alone = draw(sampler, target, grid, Streams.count(7, 1, first=i), torch.float64)
        law = "a sample does not depend on its neighbours"
        agree(alone, together[i : i + 1], 1e-9, sampler, law)


def check_noise(sampler: Sampler, process: Gaussian) -> None:
    target, grid = gaussian(process, (5, 3)), log_snr(process, 6)
    blank = torch.zeros(2, 5, 3, dtype=torch.float64)
    x = process.start(blank, process.level(grid[0]), Streams.count(0, 2))
    ends = [run(sampler, target, x, grid, Streams.count(seed, 2)) for seed in (1, 2)]
    law = "a sampler that is not stochastic gives the same for any stream"
    require(sampler.stochastic or torch.equal(*ends), sampler, law)
