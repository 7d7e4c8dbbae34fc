"""Calibration numbers are right for calibrated samples and off in a known way for others."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.evaluation.calibration import (
    coverage,
    error_correlation,
    interval,
    ranks,
    spread_ratio,
    uniformity,
)
from sfumato.noise import Streams

ELEMENTS = 20_000


def draws(n: int, *, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """``n`` samples and a truth of the same distribution, if ``scale`` is 1."""
    z = Streams.count(0, n + 1).normal(torch.zeros(n + 1, ELEMENTS, dtype=torch.float64))
    return scale * z[1:], z[0]


@pytest.mark.parametrize("n", [19, 40, 200])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_cover_what_they_claim(n: int, level: float) -> None:
    found = coverage(*draws(n), level)
    # interpolated order statistics are off by less than a tenth of a rank; 5 standard errors
    assert found == pytest.approx(level, abs=0.1 / n + 5 * math.sqrt(0.25 / ELEMENTS))


def test_few_samples_give_their_range() -> None:
    samples, _ = draws(4)
    low, high = interval(samples, 0.9)
    torch.testing.assert_close(low, samples.amin(0))
    torch.testing.assert_close(high, samples.amax(0))


def test_narrow_samples_cover_too_little_and_wide_ones_too_much() -> None:
    assert coverage(*draws(40, scale=0.5)) < 0.7
    assert coverage(*draws(40, scale=2.0)) > 0.97


def test_ranks_of_calibrated_samples_are_uniform() -> None:
    samples, truth = draws(19)
    rank = ranks(samples, truth)
    assert (int(rank.min()), int(rank.max())) == (0, 19)
    assert uniformity(rank, 19) > 1e-4


@pytest.mark.parametrize("scale", [0.8, 1.2])
def test_ranks_of_samples_of_another_width_are_not_uniform(scale: float) -> None:
    assert uniformity(ranks(*draws(19, scale=scale)), 19) < 1e-6


def test_p_values_of_uniform_ranks_are_uniform() -> None:
    u = Streams.count(1, 1).uniform(torch.zeros(1, 300, 100))[0]
    values = torch.tensor([uniformity((row * 20).floor(), 19) for row in u])
    assert float(values.mean()) == pytest.approx(0.5, abs=5 / math.sqrt(12 * 300))


@pytest.mark.parametrize("n", [2, 5, 50])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_the_spread_ratio_is_the_scale_for_any_number_of_samples(n: int, scale: float) -> None:
    # E error² = 1 + scale²/n, E s² = scale²
    expected = math.sqrt((1 + 1 / n) * scale**2 / (1 + scale**2 / n))
    assert spread_ratio(*draws(n, scale=scale)) == pytest.approx(
        expected, rel=5 / math.sqrt(ELEMENTS)
    )


def test_the_error_follows_the_spread_where_it_varies() -> None:
    samples, truth = draws(50)
    width = torch.linspace(0.1, 2, ELEMENTS, dtype=torch.float64)
    assert error_correlation(width * samples, width * truth) > 0.4
    assert abs(error_correlation(samples, truth)) < 5 / math.sqrt(ELEMENTS) * 3
    assert math.isnan(error_correlation(torch.ones(3, 5), torch.ones(5)))


def test_what_does_not_fit_is_refused() -> None:
    samples, truth = draws(3)
    with pytest.raises(ShapeError):
        coverage(samples, truth[:5])
    with pytest.raises(ShapeError):
        ranks(samples[:1], truth)
    with pytest.raises(InvalidOptionError):
        interval(samples, 1.0)
