"""Gibbs rounds, the proximal guide, and denoising by starting at the noise level of y."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.denoisers import GaussianPrior
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.evaluation.truth import LinearGaussian
from sfumato.inverse import registry
from sfumato.inverse.guides.proximal import Proximal
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.problems import Problem
from sfumato.inverse.solvers.denoising import Denoising
from sfumato.inverse.solvers.guided import Guided
from sfumato.inverse.standard import Identity, Mask
from sfumato.noise import Streams
from sfumato.processes import EDM, VP, Gaussian, log_snr
from sfumato.samplers import DDIM, Gibbs, run

COUNT, SPREAD = 4000, 0.3


def prior(process: Gaussian) -> GaussianPrior:
    return GaussianPrior(process, torch.tensor([0.5, -0.2]), torch.full((2,), SPREAD**2))


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=repr)
@pytest.mark.parametrize("rounds", [1, 3])
def test_gibbs_rounds_leave_a_gaussian_prior_as_it_is(schedule: EDM | VP, rounds: int) -> None:
    process = Gaussian(schedule)
    streams = Streams.count(0, COUNT)
    grid = log_snr(process, 4)
    x = process.start(torch.zeros(COUNT, 2), process.level(grid[0]), streams)
    x = run(Gibbs(rounds), prior(process), x, grid, streams)
    torch.testing.assert_close(
        x.mean(0), torch.tensor([0.5, -0.2]), rtol=0, atol=5 * SPREAD / math.sqrt(COUNT) + 1e-3
    )
    torch.testing.assert_close(
        x.std(0), torch.full((2,), SPREAD), rtol=5 / math.sqrt(2 * COUNT), atol=0
    )


def test_gibbs_counts_its_evaluations_and_refuses_none() -> None:
    assert Gibbs(5).evaluations == 5
    with pytest.raises(InvalidOptionError, match="rounds=0"):
        Gibbs(0)


@pytest.mark.parametrize("noise", [0.05, 0.3, 2.0])
def test_denoising_draws_from_the_posterior_of_a_gaussian(noise: float) -> None:
    y = torch.tensor([[0.9, -0.6]]).repeat(COUNT, 1)
    problem = Problem(prior(Gaussian(EDM())), Identity(Noise(noise)), y)
    x = Denoising(steps=30)(problem, Streams.count(0, COUNT))
    weight = SPREAD**2 / (SPREAD**2 + noise**2)
    mean = torch.tensor([0.5, -0.2]) * (1 - weight) + weight * y[0]
    sd = noise * math.sqrt(weight)
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=5 * sd / math.sqrt(COUNT) + 0.02 * sd)
    torch.testing.assert_close(x.std(0), torch.full((2,), sd), rtol=0.06, atol=0)


def test_denoising_is_refused_for_other_damage() -> None:
    problem = Problem(
        prior(Gaussian(EDM())), Mask(torch.tensor([1.0, 0.0]), Noise(0.1)), torch.zeros(1, 2)
    )
    with pytest.raises(UnsupportedError, match="no other damage"):
        Denoising()(problem, Streams.count(0, 1))


def test_the_proximal_guide_is_exact_where_elements_are_independent_and_y_is_exact() -> None:
    y = torch.tensor([[0.9, 0.0]]).repeat(COUNT, 1)
    problem = Problem(prior(Gaussian(EDM())), Mask(torch.tensor([1.0, 0.0]), Noise(0.0)), y)
    solver = Guided(Proximal(inflation=1.0), Gibbs(2), steps=8, start=5.0, end=0.01)
    x = solver(problem, Streams.count(0, COUNT))
    torch.testing.assert_close(x[:, 0], y[:, 0], rtol=0, atol=1e-5)
    assert x[:, 1].mean().item() == pytest.approx(-0.2, abs=5 * SPREAD / math.sqrt(COUNT))
    assert x[:, 1].std().item() == pytest.approx(SPREAD, rel=0.06)


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    problem = Problem(
        prior(Gaussian(EDM())), Mask(torch.tensor([1.0, 0.0]), Noise(0.1)), torch.rand(3, 2)
    )
    solver = registry.make("proximal", steps=4)
    whole = solver(problem, Streams.count(0, 3))
    alone = solver(problem.select([1]), Streams(0, [1]))
    torch.testing.assert_close(whole[1:2], alone, rtol=1e-5, atol=1e-6)


def test_gibbs_needs_a_denoiser_that_knows_its_spread() -> None:
    problem = Problem(prior(Gaussian(EDM())), Identity(Noise(0.1)), torch.zeros(1, 2))
    guided = registry.make("diffpir", steps=2)
    assert isinstance(guided, Guided)
    with pytest.raises(UnsupportedError, match="knows its spread"):
        Guided(guided.guide, Gibbs(2), steps=2)(problem, Streams.count(0, 1))
    assert Guided(guided.guide, DDIM(), steps=2)(problem, Streams.count(0, 1)).shape == (1, 2)


@pytest.mark.parametrize("kind", ["average", "random"])
def test_the_residual_of_proximal_samples_is_that_of_exact_draws(kind: str) -> None:
    known = LinearGaussian(kind, sigma=0.01, correlation=0.95, dimensions=64)
    samples = registry.make("proximal")(known.problem(Gaussian(), 1000), Streams.count(0, 1000))

    def chi2(x: torch.Tensor) -> float:
        return float((known.operator(x) - known.y).square().mean()) / known.sigma**2

    # 32000 residuals have a standard error of 0.01; without the settled level they are 0.24 apart
    assert chi2(samples) == pytest.approx(chi2(known.draws(1000).float()), abs=0.04)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_lowest_level_is_settled_only_where_there_is_noise_to_follow(noise: float) -> None:
    kept = Mask(torch.tensor([1.0, 0.0]), Noise(noise))
    problem = Problem(prior(Gaussian(EDM())), kept, torch.rand(3, 2))
    found = [
        registry.make("proximal", steps=3, settled=settled)(problem, Streams.count(0, 3))
        for settled in (0.0, 0.024)
    ]
    assert torch.equal(*found) == (noise == 0)
