"""Digits under a prior that is exact: bits of chains by variance and grid, and few evaluations.

The prior is one Gaussian per class, fitted to 1400 handwritten digits of 8×8 (scikit-learn); 397
others are scored. Dequantised: a step of grey is 1/8 in model units.
"""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import MixturePrior
from sfumato.denoisers.analytic import balanced
from sfumato.evaluation.distances import gaussian_w2, moments
from sfumato.likelihood import Bound, bits_per_dim, dequantise, flow_nats
from sfumato.noise import Streams
from sfumato.processes import VP, Gaussian, log_snr
from sfumato.samplers import DDIM, DPMSolver, Exponential, Sampler, run
from sfumato.samplers.planning import shortest, step_costs, step_variance
from sfumato.samplers.variances import kernel_kl

WIDTH, TRAIN, PIXELS = 1 / 8, 1400, 64
PROCESS = Gaussian(VP())


@functools.cache
def digits() -> tuple[MixturePrior, Tensor]:
    """The prior and what is held out."""
    found = pytest.importorskip("sklearn.datasets").load_digits()
    images = torch.from_numpy(found.data).double() / 8 - 1
    images = dequantise(images, WIDTH, Streams.count(0, len(images)))
    train, label = images[:TRAIN], torch.from_numpy(found.target)[:TRAIN]
    parts = [train[label == k] for k in range(10)]
    prior = MixturePrior(
        PROCESS,
        torch.bincount(label).double(),
        torch.stack([part.mean(dim=0) for part in parts]),
        torch.stack([torch.cov(part.T) + 0.01 * torch.eye(PIXELS) for part in parts]),
    )
    return prior, images[TRAIN:]


@functools.cache
def squares(count: int) -> tuple[Tensor, Tensor]:
    """Times, and the mean square error of every held-out digit at each of them."""
    prior, x = digits()
    times = torch.cat([torch.linspace(1, 1e-3, count).double(), torch.zeros(1).double()])
    noise, found = balanced(Streams.count(1, len(x)), x), []
    for level in PROCESS.levels(times[:-1]):
        mean = prior(PROCESS.corrupt(x, level, noise), level).mean
        found.append((x - mean).square().mean(dim=1))
    return times, torch.stack(found)


def bits(path: list[int], variance: str, count: int = 60) -> Tensor:
    """Bits per pixel of every held-out digit under a chain; the decoder as in ``step_costs``."""
    times, square = squares(count)
    error, levels = square.mean(dim=1), PROCESS.levels(times)
    total = torch.zeros(square.shape[1], dtype=torch.float64)
    for i, j in itertools.pairwise(path):
        if levels[j].clean:
            total += (torch.log(math.tau * error[i]) + square[i] / error[i]) / 2
        else:
            v = step_variance(variance, levels[i], levels[j], error[i])
            total += kernel_kl(levels[i], levels[j], square[i], v)
    return total / math.log(2) - math.log2(WIDTH)


@pytest.mark.parametrize("steps", [5, 10, 20])
def test_the_bits_of_digits_fall_with_the_analytic_variance_and_again_with_its_grid(
    steps: int,
) -> None:
    times, square = squares(60)
    plain = [*torch.linspace(0, 59, steps).round().long().tolist(), 60]
    even, planned = {}, {}
    for kind in ("small", "large", "analytic"):
        even[kind] = bits(plain, kind)
        costs = step_costs(PROCESS, times, square.mean(dim=1), variance=kind)
        planned[kind] = bits(shortest(costs, steps), kind)
    order = [even["small"], even["large"], even["analytic"], planned["analytic"]]
    falls = [*itertools.pairwise(order), (even["large"], planned["large"]),
             (planned["large"], planned["analytic"])]  # fmt: skip
    for more, less in falls:
        gap = more - less  # of the same digits with the same noise
        error = float(gap.std()) / math.sqrt(len(gap))
        assert float(gap.mean()) > max(0.1, 5 * error)


def test_two_hundred_steps_and_the_flow_agree_on_the_bits() -> None:
    prior, x = digits()
    chain = float(bits(list(range(201)), "analytic", 200).mean())
    exact = -prior.log_prob(x, PROCESS.level(0.0))
    nothing = torch.zeros_like(exact)
    assert chain == pytest.approx(
        bits_per_dim(Bound(exact, nothing), PIXELS, width=WIDTH).value, abs=0.05
    )
    few, streams = x[:12], Streams.count(3, 12)
    flow = flow_nats(prior, few, streams, steps=40, probes=8)
    gap = float((flow.nats - exact[:12]).mean()) / PIXELS / math.log(2)
    assert gap == pytest.approx(0, abs=0.05)


def frechet(sampler: Sampler, evaluations: int) -> float:
    """Squared distance of the moments of 1000 samples from those of the prior."""
    prior, _ = digits()
    streams = Streams.count(3, 1000)
    grid = log_snr(PROCESS, evaluations)
    blank = torch.zeros(1000, PIXELS, dtype=torch.float64)
    x = run(sampler, prior, PROCESS.start(blank, PROCESS.level(grid[0]), streams), grid, streams)
    share = prior.log_weights.exp()
    mean = share @ prior.means
    apart = prior.means - mean
    covariance = torch.einsum("k,kij->ij", share, prior.covariances) + (share * apart.T) @ apart
    return float(gaussian_w2(*moments(x), mean, covariance)) ** 2


def test_second_order_is_three_times_nearer_than_ddim_at_ten_evaluations() -> None:
    ddim = frechet(DDIM(), 10)
    for sampler in (
        DPMSolver(2), Exponential(4, "eps", "time"), Exponential(2, corrector=True, rule="bh2")
    ):  # fmt: skip
        assert frechet(sampler, 10) < ddim / 3
