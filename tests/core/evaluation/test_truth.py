"""Problems with known posteriors: exact draws score as exact, wrong ones as wrong."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.errors import InvalidOptionError
from sfumato.evaluation.truth import (
    OPERATORS,
    PROBLEMS,
    HeavyTailed,
    Known,
    LinearGaussian,
    Mixture,
)
from sfumato.noise import Streams
from sfumato.processes import EDM, VP, Gaussian, log_snr
from sfumato.samplers import DDPM, run

GAUSSIANS = [LinearGaussian(kind) for kind in OPERATORS]
ALL: list[Known] = [*GAUSSIANS, Mixture(), HeavyTailed()]


@pytest.mark.parametrize("known", ALL, ids=repr)
def test_exact_draws_score_as_exact(known: Known) -> None:
    n = 2_000
    row = known.score(known.draws(n, seed=9))
    assert row.mean_error < 5 / math.sqrt(n)
    assert row.spread == pytest.approx(1, abs=0.1)
    assert row.w2 < 0.15
    assert row.coverage == pytest.approx(0.9, abs=0.02)
    assert row.sliced_w2 < 3 * row.floor
    assert math.isnan(row.modes) or row.modes < 5 * math.sqrt(6 / n) / 2


@pytest.mark.parametrize("known", ALL, ids=repr)
def test_prior_draws_score_as_wrong(known: Known) -> None:
    prior = known.prior(Gaussian(VP()))
    row = known.score(prior.sample(Streams.count(0, 1_000)))
    assert row.spread > 1.15
    assert row.sliced_w2 > 2 * row.floor


@pytest.mark.parametrize("known", GAUSSIANS, ids=repr)
def test_the_posterior_is_that_of_linear_regression(known: LinearGaussian) -> None:
    matrix, y = known.matrix
    covariance = known.prior(Gaussian(VP())).covariance
    precision = torch.linalg.inv(covariance) + matrix.T @ matrix / known.sigma**2
    mean, found = known.moments
    torch.testing.assert_close(found, torch.linalg.inv(precision), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(mean, found @ matrix.T @ y / known.sigma**2, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("known", [LinearGaussian(), Mixture(), HeavyTailed()], ids=repr)
def test_the_exact_posterior_denoiser_samples_the_posterior(known: Known) -> None:
    n = 250 if isinstance(known, HeavyTailed) else 1_000
    posterior = known.posterior
    grid = log_snr(posterior.process, 8)
    streams = Streams.count(0, n)
    blank = torch.zeros(n, len(known.truth), dtype=torch.float64)
    x = posterior.process.start(blank, posterior.process.level(grid[0]), streams)
    row = known.score(run(DDPM("calibrated"), posterior, x, grid, streams))
    assert row.mean_error < 5 / math.sqrt(n)
    assert row.coverage == pytest.approx(0.9, abs=0.03)
    assert row.sliced_w2 < 3 * row.floor


def test_a_problem_is_as_many_copies_as_samples_are_wanted() -> None:
    problem = Mixture().problem(Gaussian(EDM()), 7, dtype=torch.float64)
    assert problem.shape == (7, 16)
    assert problem.y.dtype == torch.float64
    assert problem.denoiser.process == Gaussian(EDM())


def test_the_measurement_leaves_several_modes() -> None:
    for seed in (0, 1):
        weights = Mixture(seed=seed).posterior.log_weights.exp()
        assert int((weights > 0.05).sum()) >= 4


def test_rows_become_json() -> None:
    row = LinearGaussian().score(LinearGaussian().draws(50)).as_json()
    assert row["modes"] is None
    assert set(PROBLEMS) == {"linear-gaussian", "mixture", "heavy-tailed"}


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidOptionError):
        LinearGaussian("blurr")
    with pytest.raises(InvalidOptionError):
        LinearGaussian(dimensions=7)
