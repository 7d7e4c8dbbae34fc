"""Bits per dimension of digits: what is known of the variance, and the grid, order the bounds.

The prior is exact for digits with a little noise around each of some hundred training images; the
digits that are scored are others. Handwritten digits, 8×8, of scikit-learn.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from sfumato.denoisers import MixturePrior, mean_square_errors
from sfumato.likelihood import (
    Belief,
    Bits,
    Budget,
    bits_per_dim,
    dequantise,
    flow_nats,
    gaussian_bound,
)
from sfumato.noise import Streams
from sfumato.processes import VP, Gaussian, Level
from sfumato.samplers.planning import dynamic_grid

WIDTH = 1 / 8  # of 16 steps in [−1, 1]
TRAIN, HELD_OUT = 500, 32


@pytest.mark.slow
def test_the_bits_of_digits_fall_with_the_analytic_variance_and_again_with_its_grid() -> None:
    datasets = pytest.importorskip("sklearn.datasets")
    images = torch.from_numpy(datasets.load_digits().data).double() / 8 - 1
    noisy = dequantise(images[: TRAIN + HELD_OUT], WIDTH, Streams.count(0, TRAIN + HELD_OUT))
    train, held_out = noisy[:TRAIN], noisy[TRAIN:]
    process = Gaussian(VP())
    prior = MixturePrior(process, torch.ones(TRAIN), train, torch.full_like(train, 0.25**2))

    times = torch.cat([torch.linspace(1, 1e-3, 60).double(), torch.zeros(1).double()])
    errors = mean_square_errors(prior, held_out, times[:-1], Streams.count(1, HELD_OUT))
    table = dict(zip(times[:-1].tolist(), errors.tolist(), strict=True))

    def spread(t: Level) -> torch.Tensor:
        return torch.tensor([table[float(time)] for time in t.t.reshape(-1)], dtype=torch.float64)

    def bits(grid: torch.Tensor, variance: object) -> Bits:
        found = gaussian_bound(
            prior, held_out, Streams.count(2, HELD_OUT), grid=grid, variance=variance,
            decoder=Belief(prior, spread), budget=Budget(90, 128),
        )  # fmt: skip
        return bits_per_dim(found, 64, width=WIDTH)

    uneven = torch.linspace(0, 59, 10).round().long()
    plain = torch.cat([times[uneven], torch.zeros(1).double()])
    planned = dynamic_grid(process, 10, times, errors, variance="analytic")
    found = [bits(plain, "large"), bits(plain, spread), bits(planned, spread)]
    flow = bits_per_dim(
        flow_nats(prior, held_out[:8], Streams.count(3, 8), steps=12, probes=2), 64, width=WIDTH
    )
    gaps = [a.value - b.value for a, b in itertools.pairwise([*found, flow])]
    errors_ = [math.hypot(a.error, b.error) for a, b in itertools.pairwise(found)]
    assert gaps[0] > 3 * errors_[0], found
    assert gaps[1] > 0, found  # same items, same noise: surer than the errors of its parts say
    assert gaps[2] > 0, (found, flow)
