"""Laws of uneven levels: the posterior of a mask is a state of the prior's process, exactly."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import sfumato as sf
from sfumato.codecs import Affine
from sfumato.denoisers import GaussianPrior, Padded, Preconditioned, Tiled
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.evaluation.known import Known
from sfumato.evaluation.truth import LinearGaussian, Mixture
from sfumato.inverse import registry
from sfumato.inverse.capabilities import abilities, capabilities
from sfumato.inverse.guides.fused import Fused
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.problems import Problem
from sfumato.inverse.standard import Identity, Mask
from sfumato.networks import UNet
from sfumato.noise import Streams
from sfumato.priors import Prior
from sfumato.processes import EDM, VP, Flow, Gaussian, Level
from sfumato.training import TrainConfig
from sfumato.training.uneven import LEARNT, uneven_level, uneven_share, uneven_weight

PROCESSES = [Gaussian(EDM()), Gaussian(VP()), Gaussian(Flow())]
SPACE = (16, 24)


def untrained(process: Gaussian = PROCESSES[0]) -> Preconditioned:
    network = UNet(channels=1, widths=(8, 8), blocks=(1, 1), noise_map=True, variance=True)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return Preconditioned(network, process, head="variance")


def random_level(process: Gaussian, batch: int, space: tuple[int, int] = SPACE) -> Level:
    ratios = (torch.rand(batch, 1, *space, dtype=torch.float64) * 4 - 3).exp()
    t = process.schedule.time_of(ratios.log())
    level = process.level(t)
    return replace(level, t=t.flatten(1).amax(dim=1))


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@pytest.mark.parametrize("known", [LinearGaussian(), Mixture()], ids=repr)
def test_the_fused_guide_is_the_posteriors_own_denoiser(known: Known, process: Gaussian) -> None:
    posterior = replace(known.posterior, process=process)
    problem = known.problem(process, 5, dtype=torch.float64)
    x_t = Streams.count(3, 5).normal(problem.y)
    for time in (0.2, 0.5, 0.8):
        t = process.level(time)
        found, exact = Fused()(problem, x_t, t), posterior(x_t, t)
        assert torch.allclose(found.mean, exact.mean, atol=1e-10)
        assert torch.allclose(found.variance, exact.variance, atol=1e-10)


def test_its_samples_have_the_moments_of_the_posterior() -> None:
    known = LinearGaussian()
    solver = registry.make("fused", steps=30)
    score = known.score(solver(known.problem(Gaussian(), 4000), Streams.count(0, 4000)))
    assert score.mean_error < 0.06
    assert score.spread == pytest.approx(1, abs=0.06)
    assert score.coverage == pytest.approx(0.9, abs=0.02)


def test_measured_elements_without_noise_come_back_as_measured() -> None:
    prior = LinearGaussian().prior(Gaussian())
    operator = Mask(torch.arange(16) % 3 == 0)
    y = operator.measure(prior.sample(Streams.count(0, 3)).float())
    x = registry.make("fused", steps=5)(Problem(prior, operator, y), Streams.count(1, 3))
    assert torch.equal(operator(x), y)


def test_noise_that_differs_between_elements_is_weighed_element_by_element() -> None:
    process = Gaussian()
    prior = GaussianPrior(process, torch.zeros(4).double(), torch.full((4,), 0.25).double())
    noise = torch.tensor([0.1, 0.2, 0.4, 0.8], dtype=torch.float64)
    operator = Identity(Noise(noise))
    y = torch.tensor([[1.0, -1.0, 0.5, 0.3]], dtype=torch.float64)
    t = process.level(0.6)
    x_t = torch.tensor([[0.3, 0.1, -2.0, 4.0]], dtype=torch.float64)
    precision = 1 / 0.25 + 1 / noise**2 + 1 / t.sigma**2
    expected = (y / noise**2 + x_t / t.sigma**2) / precision
    found = Fused()(Problem(prior, operator, y), x_t, t)
    assert torch.allclose(found.mean, expected, atol=1e-12)
    assert torch.allclose(found.variance, 1 / precision.expand(1, 4), atol=1e-12)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_an_uneven_level_of_equal_levels_is_the_even_level(process: Gaussian) -> None:
    denoiser = untrained(process)
    x_t = torch.randn(2, 1, *SPACE)
    even = process.level(torch.tensor([0.3, 0.6]))
    full = (2, 1, *SPACE)
    alpha, sigma = (c.reshape(2, 1, 1, 1).expand(full) for c in (even.alpha, even.sigma))
    found, expected = denoiser(x_t, Level(even.t, alpha, sigma)), denoiser(x_t, even)
    assert torch.allclose(found.mean, expected.mean, atol=1e-5)
    assert torch.allclose(found.variance, expected.variance, atol=1e-5)


def test_the_network_heeds_its_noise_map_element_by_element() -> None:
    denoiser = untrained()
    level = random_level(denoiser.process, 1)
    x_t = torch.randn(1, 1, *SPACE)
    other = replace(level, sigma=level.sigma.clone())
    other.sigma[..., 0, 0] /= 2
    change = (denoiser(x_t, other).mean - denoiser(x_t, level).mean).abs()
    assert change[..., 0, 0] > 1e-4
    assert change[..., -1, -1] < 1e-7  # beyond the receptive field


def test_padding_and_tiles_cut_the_level_with_the_state() -> None:
    network = UNet(channels=1, widths=(8,), blocks=(1,), fold=1, noise_map=True)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    denoiser = Preconditioned(network, PROCESSES[0])  # sees four elements far
    level = random_level(denoiser.process, 2, (16, 49))
    x_t = torch.randn(2, 1, 16, 49)
    whole = denoiser(x_t, level).mean
    assert torch.allclose(Tiled(denoiser, 32, 16)(x_t, level).mean, whole, atol=1e-5)
    odd = Padded(denoiser, 4)(x_t, level).mean
    assert torch.allclose(odd[..., :44], whole[..., :44], atol=1e-5)


def test_a_mask_that_differs_between_channels_is_left_to_other_solvers() -> None:
    mask = torch.rand(3, 8, 8) < 0.5
    assert "places" not in capabilities(Mask(mask))
    assert "places" in capabilities(Mask(mask[:1].expand(3, -1, -1)))
    with pytest.raises(UnsupportedError, match="places"):
        registry.require("fused", Mask(mask), untrained())


def test_networks_are_sampled_in_rounds_and_exact_denoisers_are_not() -> None:
    mask = Mask(torch.rand(1, 8, 8) < 0.5)
    assert registry.choose(mask, untrained())[0] == "fused-gibbs"
    assert "learned" in abilities(Padded(untrained(), 4))
    known = Mixture()
    problem = known.problem(Gaussian(), 2)
    assert "learned" not in abilities(problem.denoiser)
    assert registry.choose(problem.operator, problem.denoiser)[0] != "fused-gibbs"


def test_rounds_have_the_moments_of_the_posterior() -> None:
    known = LinearGaussian()
    solver = registry.make("fused-gibbs", steps=30, inflation=1.0)
    score = known.score(solver(known.problem(Gaussian(), 4000), Streams.count(0, 4000)))
    assert score.mean_error < 0.06
    assert score.spread == pytest.approx(1, abs=0.03)
    assert score.coverage == pytest.approx(0.9, abs=0.02)


def test_inflation_widens_what_is_not_measured_and_is_not_exact() -> None:
    problem = LinearGaussian().problem(Gaussian(), 5, dtype=torch.float64)
    x_t = Streams.count(3, 5).normal(problem.y)
    t = Gaussian().level(0.5)
    narrow, wide = Fused()(problem, x_t, t), Fused(inflation=2.0)(problem, x_t, t)
    assert torch.equal(wide.mean, narrow.mean)
    assert wide.variance is not None
    assert narrow.variance is not None
    factor = wide.variance / narrow.variance
    assert bool(((factor >= 1) & (factor <= 2)).all())
    # what is seen has a variance of 0.0099 if the prior says nothing, and no more
    seen = wide.variance <= 0.00991
    assert bool(seen.any())
    assert not bool(seen.all())
    assert torch.equal(factor[~seen], torch.full_like(factor[~seen], 2.0))
    assert Fused().exact
    assert not Fused(inflation=2.0).exact


def test_a_factor_on_the_variance_without_sense_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="inflation=-1"):
        Fused(inflation=-1)


def test_training_draws_levels_that_follow_from_seed_and_number() -> None:
    process = PROCESSES[0]
    config = TrainConfig(seed=3)
    even = process.level(torch.linspace(0.2, 0.8, 40, dtype=torch.float64))
    level = uneven_level(process, even, range(40), config, SPACE, share=0.5)
    alone = uneven_level(process, process.level(even.t[7:8]), [7], config, SPACE, share=0.5)
    assert torch.equal(level.sigma[7:8], alone.sigma)
    rows = level.sigma.flatten(1)
    uneven = (rows.amax(dim=1) > rows.amin(dim=1)).double().mean()
    assert 0.5 - 4 * math.sqrt(0.25 / 40) < uneven < 0.5 + 4 * math.sqrt(0.25 / 40)
    assert torch.allclose(process.level(level.t).sigma, rows.amax(dim=1))


def test_networks_with_a_noise_map_are_trained_on_uneven_levels_unless_told_otherwise() -> None:
    with_map = untrained()
    without = Preconditioned(UNet(channels=1, widths=(8,), blocks=(1,)), PROCESSES[0])
    assert uneven_share(with_map, TrainConfig()) == 0.5
    assert uneven_share(without, TrainConfig()) == 0
    assert uneven_share(with_map, TrainConfig(uneven=0.0)) == 0
    assert uneven_share(with_map, TrainConfig(weight="likelihood")) == 0


def test_known_elements_have_no_weight_in_the_loss() -> None:
    denoiser = untrained()
    level = random_level(denoiser.process, 2)
    level.sigma[..., :3, :] = 1e-3
    w = uneven_weight("edm", denoiser, level, 5.0)
    assert (w[..., :3, :] == 0).all()
    kept = level.ratio >= LEARNT
    assert torch.allclose(w[kept], denoiser.coefficients(level).out[kept] ** -2)


def test_the_likelihood_weight_is_refused_for_uneven_levels() -> None:
    with pytest.raises(InvalidOptionError, match="uneven"):
        TrainConfig(uneven=0.5, weight="likelihood")


def denoised(sigma: float, n: int) -> tuple[sf.Result, Tensor]:
    process = Gaussian()
    mean, variance = torch.zeros(1, 8, 8).double(), torch.full((1, 8, 8), 0.25).double()
    exact = GaussianPrior(process, mean, variance)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, x: Tensor, noise_label: Tensor) -> Tensor:
            level = process.level(process.schedule.time_of(noise_label * 4))
            return exact(x, level).mean

    prior = Prior(Preconditioned(Network(), process, prediction="x0"), Affine(), (1, 8, 8))
    operator = Identity(Noise(sigma))
    truth = exact.sample(Streams.count(5, 1)).reshape(1, 1, 8, 8)
    y = operator.measure(truth)
    posterior = y * 0.25 / (0.25 + sigma**2)
    return sf.reconstruct(prior, operator, y, n=n, dtype=torch.float64), posterior[0]


def test_the_mean_that_a_solver_reads_off_is_nearer_than_the_average_of_its_samples() -> None:
    result, posterior = denoised(0.5, 3)
    assert result.record["solver"] == "denoising"
    assert torch.allclose(result.mean, posterior, atol=1e-9)
    assert (result.average - posterior).abs().mean() > 0.05
    assert result.expectation_error is not None
    assert result.expectation_error.max() < 1e-9


def test_intervals_around_a_mean_without_error_are_narrower() -> None:
    result, _ = denoised(0.5, 4)
    low, high = result.interval(0.9)
    plain_low, plain_high = replace(result, expectation=None, expectation_error=None).interval(0.9)
    assert torch.allclose((high - low) * math.sqrt(1.25), plain_high - plain_low)


def test_a_step_hands_on_every_estimate_that_it_made() -> None:
    known = LinearGaussian()
    seen: list[int] = []
    solver = registry.make("proximal", steps=3, rounds=4, single_below=0.0)
    problem = known.problem(Gaussian(), 2)
    solver(problem, Streams.count(0, 2), callback=lambda step: seen.append(len(step.estimates)))
    assert seen == [4, 4, 4]
