"""Exact denoisers obey Tweedie's formulas, and their draws have their moments."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import (
    ChainPrior,
    DataSetPrior,
    Exact,
    GaussianPrior,
    MixturePrior,
    tweedie,
)
from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.noise import Streams
from sfumato.processes import EDM, VP, Flow, Gaussian, Level

N = 6
PROCESS = Gaussian(VP())


def noise(*shape: int, seed: int = 0) -> Tensor:
    return Streams(seed, range(shape[0])).normal(torch.zeros(shape, dtype=torch.float64))


def covariances(k: int) -> Tensor:
    half = noise(k, N, N) / math.sqrt(N)
    return half @ half.mT + 0.05 * torch.eye(N, dtype=torch.float64)


def gaussian(process: Gaussian = PROCESS) -> GaussianPrior:
    return GaussianPrior(process, noise(2, 3), covariances(1)[0])


def diagonal(process: Gaussian = PROCESS) -> GaussianPrior:
    return GaussianPrior(process, noise(2, 3), noise(2, 3, seed=1) ** 2)


def mixture(process: Gaussian = PROCESS) -> MixturePrior:
    return MixturePrior(process, torch.tensor([1.0, 2.0, 3.0]), noise(3, N), covariances(3))


def points(process: Gaussian = PROCESS) -> DataSetPrior:
    return DataSetPrior(process, noise(9, 2, 3))


def chain(process: Gaussian = PROCESS) -> ChainPrior:
    return ChainPrior.heavy_tailed(process, N, points=25, scale=0.4)


PRIORS = [gaussian, diagonal, mixture, points, chain]
KNOWN = PRIORS[:-1]


def state(prior: Exact, n: int = 4) -> Tensor:
    return noise(n, *prior.shape, seed=5)


@pytest.mark.parametrize("make", PRIORS)
@pytest.mark.parametrize("schedule", [VP(), EDM(), Flow()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("time", [0.2, 0.6])
def test_the_mean_is_tweedies(make: type[Exact], schedule: VP, time: float) -> None:
    prior = make(Gaussian(schedule))
    t = prior.process.level(time)
    x = (t.sigma * state(prior)).requires_grad_()
    (score,) = torch.autograd.grad(prior.log_prob(x, t).sum(), x)
    expected = (x + t.sigma**2 * score) / t.alpha
    torch.testing.assert_close(prior(x, t).mean, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("make", KNOWN)
def test_the_covariance_map_is_the_scaled_jacobian(make: type[Exact]) -> None:
    prior = make()  # type: ignore[call-arg]
    t, v = PROCESS.level(0.4), noise(4, *prior.shape, seed=6)
    x = state(prior).requires_grad_()
    estimate = prior(x, t)
    (jacobian,) = torch.autograd.grad(estimate.mean, x, v)
    assert estimate.covariance is not None
    torch.testing.assert_close(estimate.covariance(v), t.sigma**2 / t.alpha * jacobian)


@pytest.mark.parametrize("make", PRIORS)
def test_the_variance_is_the_diagonal_of_the_covariance(make: type[Exact]) -> None:
    prior = make()  # type: ignore[call-arg]
    t, x = PROCESS.level(0.4), state(prior)
    estimate, covariance = tweedie(prior, x, t)
    columns = []
    for i in range(N):
        one = torch.zeros(N, dtype=torch.float64)
        one[i] = 1
        columns.append(covariance(one.reshape(1, *prior.shape).expand_as(x)).flatten(1)[:, i])
    assert estimate.variance is not None
    found = estimate.variance.flatten(1)
    torch.testing.assert_close(found, torch.stack(columns, dim=1), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("make", PRIORS)
def test_draws_given_a_state_have_the_moments_of_the_estimate(make: type[Exact]) -> None:
    prior, n = make(), 5_000  # type: ignore[call-arg]
    t, x = PROCESS.level(0.5), state(prior, 1)
    one, covariance = tweedie(prior, x, t)
    draws = prior(x.expand(n, *prior.shape), t).draw(Streams.count(0, n)).flatten(1)
    assert one.variance is not None
    error = (draws.mean(0) - one.mean.flatten()) / one.variance.flatten().sqrt()
    assert float(error.abs().max()) < 5 / math.sqrt(n)
    direction = noise(1, *prior.shape, seed=8)
    along = (draws * direction.flatten()).sum(1)
    expected = float((direction * covariance(direction)).sum())
    kurtosis = float(((along - along.mean()) ** 4).mean() / along.var() ** 2)
    assert float(along.var()) == pytest.approx(expected, rel=5 * math.sqrt((kurtosis - 1) / n))


@pytest.mark.parametrize("make", PRIORS)
def test_noised_samples_denoise_to_the_mean_of_the_prior(make: type[Exact]) -> None:
    prior, n = make(), 5_000  # type: ignore[call-arg]
    x_0 = prior.sample(Streams.count(0, n)).double()
    t = PROCESS.level(0.5)
    x_t = PROCESS.corrupt(x_0, t, noise(n, *prior.shape, seed=3))
    gap = (prior(x_t, t).mean - x_0).flatten(1)
    assert float((gap.mean(0).abs() / gap.std(0)).max()) < 5 / math.sqrt(n)


@pytest.mark.parametrize("make", PRIORS)
def test_samples_have_the_moments_of_pure_noise_estimates(make: type[Exact]) -> None:
    prior, n = make(), 5_000  # type: ignore[call-arg]
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    estimate = prior(state(prior, 1), Level(one, zero, one))  # α = 0: nothing is known
    draws = prior.sample(Streams.count(0, n)).double()
    assert estimate.variance is not None
    error = (draws.mean(0) - estimate.mean[0]) / estimate.variance[0].sqrt()
    assert float(error.abs().max()) < 5 / math.sqrt(n)


@pytest.mark.parametrize("make", PRIORS)
def test_data_denoise_to_themselves(make: type[Exact]) -> None:
    prior = make()  # type: ignore[call-arg]
    x = prior.sample(Streams.count(0, 3)).double()
    torch.testing.assert_close(prior(x, PROCESS.level(0.0)).mean, x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", PRIORS)
def test_an_item_does_not_depend_on_its_neighbours(make: type[Exact]) -> None:
    prior = make()  # type: ignore[call-arg]
    times = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    x, streams = state(prior, 3), Streams.count(0, 3)
    estimate = prior(x, PROCESS.level(times))
    draws = estimate.draw(streams)
    for i in range(3):
        alone = prior(x[i : i + 1], PROCESS.level(times[i]))
        torch.testing.assert_close(alone.mean[0], estimate.mean[i])
        draw = alone.draw(Streams.count(0, 1, first=i))
        torch.testing.assert_close(draw[0], draws[i])


@pytest.mark.parametrize("make", PRIORS)
def test_the_precision_of_the_state_is_kept(make: type[Exact]) -> None:
    prior = make()  # type: ignore[call-arg]
    estimate = prior(state(prior).float(), PROCESS.level(0.5))
    assert estimate.mean.dtype == torch.float32
    assert estimate.draw(Streams.count(0, 4)).dtype == torch.float32


@pytest.mark.parametrize("make", PRIORS)
def test_densities_integrate_to_one(make: type[Exact]) -> None:
    prior, n = make(), 5_000  # type: ignore[call-arg]
    t = PROCESS.level(0.5)
    x_t = PROCESS.corrupt(
        prior.sample(Streams.count(0, n)).double(), t, noise(n, *prior.shape, seed=3)
    )
    mean, covariance = x_t.flatten(1).mean(0), torch.cov(x_t.flatten(1).T)
    wide = torch.distributions.MultivariateNormal(mean, 1.5 * covariance)
    proposals = mean + noise(n, N, seed=4) @ torch.linalg.cholesky(1.5 * covariance).T
    log_ratio = prior.log_prob(proposals.reshape(n, *prior.shape), t) - wide.log_prob(proposals)
    weights = log_ratio.exp()
    assert float(weights.mean()) == pytest.approx(1, abs=5 * float(weights.std()) / math.sqrt(n))


@pytest.mark.parametrize("make", [gaussian, diagonal, mixture])
def test_the_posterior_obeys_bayes(make: type[Exact]) -> None:
    prior = make()
    assert isinstance(prior, (GaussianPrior, MixturePrior))
    a, y, variance = noise(2, N, seed=7), noise(1, 2, seed=8)[0], 0.3
    posterior = prior.given(a, y, variance)
    clean, x = PROCESS.level(0.0), noise(5, *prior.shape, seed=9)
    misfit = ((y - x.flatten(1) @ a.T) ** 2).sum(1) / (2 * variance)
    gap = posterior.log_prob(x, clean) - (prior.log_prob(x, clean) - misfit)
    torch.testing.assert_close(gap, gap[:1].expand(5), rtol=1e-7, atol=1e-7)


def test_the_posterior_of_a_chain_obeys_bayes() -> None:
    prior = chain()
    mask, y = torch.tensor([1, 0, 1, 0, 0, 1]), noise(1, N, seed=8)[0]
    posterior = prior.given(mask, y, 0.2)
    clean, x = PROCESS.level(0.0), prior.sample(Streams.count(1, 5))
    misfit = (mask * (y - x) ** 2).sum(1) / 0.4
    gap = posterior.log_prob(x, clean) - (prior.log_prob(x, clean) - misfit)
    torch.testing.assert_close(gap, gap[:1].expand(5), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [gaussian, mixture, chain])
def test_moments_are_those_of_samples(make: type[Exact]) -> None:
    prior, n = make(), 5_000
    draws = prior.sample(Streams.count(0, n)).double().flatten(1)
    mean, covariance = prior.moments()  # type: ignore[attr-defined]
    size = float(covariance.diagonal().max())
    assert float((draws.mean(0) - mean).abs().max()) < 5 * math.sqrt(size / n)
    assert float((torch.cov(draws.T) - covariance).abs().max()) < 5 * size * math.sqrt(4 / n)


@pytest.mark.usefixtures("unchecked_shapes")
def test_bad_priors_are_refused() -> None:
    zero, eye = torch.zeros(2), torch.eye(2)
    with pytest.raises(ShapeError):
        GaussianPrior(PROCESS, zero, torch.eye(3))
    with pytest.raises(InvalidOptionError):
        GaussianPrior(PROCESS, zero, -eye)
    with pytest.raises(InvalidOptionError):
        GaussianPrior(PROCESS, zero, math.nan * eye)
    with pytest.raises(InvalidOptionError):
        MixturePrior(PROCESS, torch.tensor([1.0, -1.0]), eye, eye)
    with pytest.raises(ShapeError):
        MixturePrior(PROCESS, torch.ones(3), eye, eye)
    with pytest.raises(ShapeError):
        DataSetPrior(PROCESS, zero)
    with pytest.raises(ShapeError, match="state of GaussianPrior"):
        GaussianPrior(PROCESS, zero, eye)(torch.zeros(1, 3), PROCESS.level(0.5))
    with pytest.raises(InvalidOptionError):
        gaussian().given(torch.eye(N), torch.zeros(N), 0.0)
