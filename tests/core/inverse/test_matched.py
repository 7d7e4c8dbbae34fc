"""Matching rounded data by moments."""

from __future__ import annotations

import pytest
import torch

from sfumato.denoisers import Denoiser, Estimate, GaussianPrior
from sfumato.errors import UnsupportedError
from sfumato.inverse import registry
from sfumato.inverse.guides.matched import Known, Matched, site, variances
from sfumato.inverse.guides.proximal import Proximal
from sfumato.inverse.likelihoods import Affine, Laplace, Quantised
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.problems import Problem
from sfumato.inverse.standard import Identity, Mask, Matrix
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian


def integrated(likelihood, y: float, mean: float, variance: float) -> tuple[float, float]:
    """Moments of z given y by numerical integration."""
    sd = variance**0.5
    z = torch.linspace(mean - 12 * sd, mean + 12 * sd, 400_001, dtype=torch.float64)
    log_p = likelihood.log_density(torch.tensor(y).double(), z) - (z - mean) ** 2 / (2 * variance)
    weight = log_p.softmax(0)
    centre = (weight * z).sum()
    return float(centre), float((weight * (z - centre) ** 2).sum())


@pytest.mark.parametrize("sigma", [0.02, 0.3])
@pytest.mark.parametrize("y", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("variance", [0.01, 0.3, 20.0])
def test_the_moments_of_a_rounded_number_are_those_of_its_interval(
    y: float, variance: float, sigma: float
) -> None:
    likelihood = Quantised(1.0, sigma)
    expected = integrated(likelihood, y, 0.3, variance)
    for dtype, close in ((torch.float64, 1e-5), (torch.float32, 2e-3)):
        at, mean, v = (torch.tensor([number], dtype=dtype) for number in (y, 0.3, variance))
        found = likelihood.moments(at, mean, v)
        assert float(found[0]) == pytest.approx(expected[0], rel=close, abs=close)
        assert float(found[1]) == pytest.approx(expected[1], rel=5 * close)


def test_a_saturated_number_has_an_interval_without_end() -> None:
    likelihood = Quantised(0.1, 0.01, clip=(0.0, 1.0))
    expected = integrated(likelihood, 1.0, 0.8, 0.25)
    found = likelihood.moments(*(torch.tensor([v]).double() for v in (1.0, 0.8, 0.25)))
    assert [float(part) for part in found] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mean", [-1e4, -50.0, 50.0, 1e4])
def test_beliefs_far_from_the_interval_end_at_its_edge(mean: float) -> None:
    likelihood = Quantised(1.0, 1e-6)
    inside, left = likelihood.moments(torch.zeros(1), torch.tensor([mean]), torch.tensor([0.04]))
    assert float(inside) == pytest.approx(0.5 if mean > 0 else -0.5, abs=0.01)
    assert 0 <= float(left) <= 0.04


def test_moments_in_other_units_are_the_same_moments() -> None:
    y, mean, v = (torch.tensor([number]).double() for number in (2.0, 0.4, 0.09))
    inner = Quantised(1.0, 0.1)
    found = Affine(inner, 4.0, 0.5, keep_y=True).moments(y, mean, v)
    expected = inner.moments(y, 4 * mean + 0.5, 16 * v)
    torch.testing.assert_close(found[0], (expected[0] - 0.5) / 4)
    torch.testing.assert_close(found[1], expected[1] / 16)


def test_a_site_leads_from_the_belief_to_its_moments_given_y() -> None:
    m, v, mu, w = (torch.tensor([number]).double() for number in (0.2, 0.5, 0.7, 0.1))
    y, noise = site(m, v, mu, w)
    torch.testing.assert_close(m + v / (v + noise) * (y - m), mu)
    torch.testing.assert_close(v * noise / (v + noise), w)
    # what is no news has a variance beyond all others
    assert float(site(m, v, m, v)[1]) >= 1e5 * float(v)


def test_the_spread_of_what_is_measured_follows_from_the_operator() -> None:
    r2, z = torch.tensor(0.3).double(), torch.zeros(2, 4)
    kept = torch.tensor([1.0, 0, 1, 1])
    torch.testing.assert_close(variances(Mask(kept), r2, z), torch.full((2, 4), 0.3))
    rotation = torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))[0]
    torch.testing.assert_close(variances(Matrix(2 * rotation), r2, z), torch.full((2, 4), 1.2))


class Spread(Denoiser):
    """The exact denoiser of independent elements, as a network tells it; counts its calls."""

    head = "variance"

    def __init__(self, mean: float, variance: float) -> None:
        self.process, self.calls, self.spread = Gaussian(EDM()), 0, variance**0.5
        self.prior = GaussianPrior(self.process, torch.full((1,), mean), torch.full((1,), variance))

    def __call__(self, x_t, t, condition=None) -> Estimate:
        self.calls += 1
        estimate = self.prior(x_t, t)
        return Estimate(estimate.mean, variance=estimate.variance)


def test_fine_rounding_is_gaussian_noise_of_its_variance() -> None:
    denoiser, step = Spread(0.2, 0.25), 1e-3
    x_t, level = torch.randn(5, 1).double(), denoiser.process.at_ratio(0.4)
    y = torch.full((5, 1), 0.3).double()
    rounded = Problem(denoiser, Identity(Quantised(step, 1e-6)), y)
    noisy = Problem(denoiser, Identity(Noise(step / 12**0.5)), y)
    found, expected = Matched()(rounded, x_t, level), Proximal()(noisy, x_t, level)
    torch.testing.assert_close(found.mean, expected.mean, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.variance, expected.variance, rtol=1e-3, atol=1e-12)
    assert denoiser.calls == 2  # one for each guide


@pytest.mark.slow
def test_samples_given_a_rounded_number_have_the_moments_of_the_posterior() -> None:
    n, likelihood = 2000, Quantised(1.0, 0.05)
    denoiser = Spread(0.3, 0.25)
    y = torch.zeros(n, 1, dtype=torch.float64)
    solver = registry.make("matched", steps=20, inflation=1.0)
    x = solver(Problem(denoiser, Identity(likelihood), y), Streams.count(0, n))
    mean, variance = integrated(likelihood, 0.0, 0.3, 0.25)
    # one matching by moments per call: a few hundredths of the interval are what is asked for
    assert float(x.mean()) == pytest.approx(mean, abs=0.05)
    assert float(x.std()) == pytest.approx(variance**0.5, rel=0.15)
    assert float((x.abs() > 0.65).double().mean()) < 0.05


def test_it_is_the_default_for_rounded_data_and_no_other_noise() -> None:
    denoiser = Spread(0.0, 1.0)
    assert registry.choose(Identity(Quantised(1.0, 0.1)), denoiser)[0] == "matched"
    with pytest.raises(UnsupportedError, match="known by its moments"):
        registry.require("matched", Identity(Laplace(0.1)), denoiser)
    with pytest.raises(UnsupportedError, match="Laplace"):
        Laplace(0.1).moments(torch.zeros(1), torch.zeros(1), torch.ones(1))


def test_what_is_known_is_not_asked_again() -> None:
    denoiser = Spread(0.0, 1.0)
    estimate = Estimate(torch.ones(1, 1))
    known = Known(denoiser, estimate)
    assert known(torch.zeros(1, 1), denoiser.process.level(0.5)) is estimate
    assert (known.process, denoiser.calls) == (denoiser.process, 0)
