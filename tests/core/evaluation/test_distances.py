"""Distances are 0 between equals, and known where they are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sfumato.errors import ShapeError
from sfumato.evaluation.distances import (
    energy_distance,
    gaussian_w2,
    kernel_distance,
    moments,
    sliced_w2,
    total_variation,
)
from sfumato.noise import Streams


def noise(n: int, d: int, seed: int = 0) -> Tensor:
    return Streams(seed, [0]).normal(torch.zeros(1, n, d, dtype=torch.float64))[0]


def test_w2_between_gaussians_that_commute_is_the_distance_of_their_scales() -> None:
    a, b = (
        torch.diag(torch.tensor([4.0, 1.0])).double(),
        torch.diag(torch.tensor([1.0, 9.0])).double(),
    )
    zero, mean = torch.zeros(2).double(), torch.tensor([3.0, 0.0]).double()
    assert float(gaussian_w2(zero, a, mean, b)) == pytest.approx(math.sqrt(9 + 1 + 4))


def test_w2_is_a_metric_on_gaussians() -> None:
    matrices = [noise(4, 4, seed) for seed in range(3)]
    a, b, c = (m @ m.T for m in matrices)
    zero = torch.zeros(4).double()

    def distance(x: Tensor, y: Tensor) -> float:
        return float(gaussian_w2(zero, x, zero, y))

    assert distance(a, a) == pytest.approx(0, abs=1e-6)
    assert distance(a, b) == pytest.approx(distance(b, a))
    assert distance(a, c) <= distance(a, b) + distance(b, c)


def test_sliced_w2_of_a_shift_is_its_mean_projection() -> None:
    x, shift = noise(500, 3), torch.tensor([1.0, 0.0, 0.0]).double()
    assert float(sliced_w2(x, x)) == 0
    expected = math.sqrt(1 / 3)  # E (u·e)² over directions in three dimensions
    assert float(sliced_w2(x, x + shift, directions=4_000)) == pytest.approx(expected, rel=0.05)


def test_sliced_w2_takes_sets_of_different_size() -> None:
    x = noise(4_000, 2)
    assert float(sliced_w2(x, x[::2])) < 0.1
    assert float(sliced_w2(x[::2], x)) == pytest.approx(float(sliced_w2(x, x[::2])))


def test_total_variation_is_between_zero_and_one() -> None:
    p = torch.tensor([0.5, 0.5, 0.0])
    assert float(total_variation(p, p)) == 0
    assert float(total_variation(p, torch.tensor([0.0, 0.0, 1.0]))) == 1


@pytest.mark.parametrize("distance", [energy_distance, kernel_distance])
def test_two_sample_statistics_see_a_shift_and_nothing_else(distance: type) -> None:
    x, y = noise(600, 3, 0), noise(600, 3, 1)
    same = [float(distance(noise(200, 3, 2 * k), noise(200, 3, 2 * k + 1))) for k in range(10)]
    mean, error = sum(same) / 10, torch.tensor(same).std().item() / math.sqrt(10)
    assert abs(mean) < 5 * error
    assert float(distance(x, y + 0.5)) > 5 * max(abs(v) for v in same) / 3


def test_the_energy_distance_of_far_points_is_twice_their_distance() -> None:
    x = 1e-3 * noise(50, 2)
    far = torch.tensor([100.0, 0.0]).double()
    assert float(energy_distance(x, x + far)) == pytest.approx(200, rel=1e-3)


def test_moments_are_mean_and_covariance() -> None:
    x = noise(100, 3).reshape(100, 3, 1)
    mean, covariance = moments(x)
    torch.testing.assert_close(covariance, torch.cov(x.flatten(1).T))
    torch.testing.assert_close(mean, x.flatten(1).mean(0))


def test_samples_of_different_shape_are_refused() -> None:
    with pytest.raises(ShapeError):
        sliced_w2(noise(5, 2), noise(5, 3))
    with pytest.raises(ShapeError):
        moments(noise(5, 2)[:1])
