"""Variances from random signs: unbiased, per item, exact where elements are independent."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import GaussianPrior, MixturePrior, WithVariance, tweedie
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import VP, Gaussian, log_snr
from sfumato.samplers import DDPM, run

PROCESS = Gaussian(VP())
T = PROCESS.level(0.4)


def noise(*shape: int) -> Tensor:
    return Streams.count(0, shape[0]).normal(torch.zeros(shape, dtype=torch.float64))


def correlated() -> GaussianPrior:
    place = torch.arange(5, dtype=torch.float64)
    return GaussianPrior(PROCESS, place, 0.8 ** (place[:, None] - place).abs())


def test_independent_elements_need_one_probe() -> None:
    means = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    prior = MixturePrior(PROCESS, torch.ones(2), means, torch.full_like(means, 0.2))
    x = noise(3, 2)
    found = WithVariance(prior, probes=1)(x, T)
    torch.testing.assert_close(found.variance, prior(x, T).variance)
    torch.testing.assert_close(found.mean, prior(x, T).mean)


@pytest.mark.parametrize("streams", [False, True])
def test_the_variance_is_unbiased(streams: bool) -> None:
    prior, x, probes = correlated(), noise(1, 5), 1000
    own = Streams.count(0, 1) if streams else None
    found = WithVariance(prior, probes=probes, streams=own)(x, T).variance
    covariance = torch.stack(
        [tweedie(prior, x, T)[1](row[None])[0] for row in torch.eye(5).double()]
    )
    off = covariance - torch.diag(covariance.diagonal())
    wide = 5 * (2 * off.square().sum(1) / probes).sqrt()
    assert found is not None
    assert bool(((found[0] - covariance.diagonal()).abs() < wide).all())


def test_an_item_does_not_depend_on_its_neighbours() -> None:
    x = noise(3, 5)
    shared = WithVariance(correlated(), probes=2)
    own = WithVariance(correlated(), probes=2, streams=Streams.count(4, 3))
    together = shared(x, T).variance, own(x, T).variance
    for i in range(3):
        alone = WithVariance(correlated(), probes=2, streams=Streams.count(4, 1, first=i))
        for expected, single in zip(together, (shared, alone), strict=True):
            assert expected is not None
            torch.testing.assert_close(single(x[i : i + 1], T).variance, expected[i : i + 1])


def test_the_covariance_map_is_tweedies() -> None:
    x, v = noise(2, 5), noise(2, 5).flip(0)
    _, found = tweedie(WithVariance(correlated(), probes=1), x, T)
    torch.testing.assert_close(found(v), tweedie(correlated(), x, T)[1](v))


def test_gradients_still_flow_through_the_mean() -> None:
    x = noise(2, 5).requires_grad_()
    (found,) = torch.autograd.grad(WithVariance(correlated())(x, T).mean.sum(), x)
    (expected,) = torch.autograd.grad(correlated()(x, T).mean.sum(), x)
    torch.testing.assert_close(found, expected)


def test_calibrated_sampling_keeps_the_spread_of_independent_elements() -> None:
    n = 4_000
    prior = GaussianPrior(PROCESS, torch.zeros(2).double(), torch.full((2,), 0.3).double())
    grid, streams = log_snr(PROCESS, 5), Streams.count(0, n)
    x = PROCESS.start(torch.zeros(n, 2).double(), PROCESS.level(grid[0]), streams)
    x = run(DDPM("calibrated"), WithVariance(prior, probes=1), x, grid, streams)
    for variance in x.var(0).tolist():
        assert variance == pytest.approx(0.3, rel=5 * math.sqrt(2 / n))


def test_no_probes_are_refused() -> None:
    with pytest.raises(InvalidOptionError):
        WithVariance(correlated(), probes=0)
