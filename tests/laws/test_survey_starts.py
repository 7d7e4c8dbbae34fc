"""Adaptive steps, restarts, and trajectories that start elsewhere than at noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from ring import ring
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser, Estimate, GaussianPrior
from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.evaluation.distances import sliced_w2
from sfumato.noise import Streams
from sfumato.processes import EDM, VP, Gaussian, Level, log_snr, uniform
from sfumato.samplers import (
    DDIM,
    Adaptive,
    Churn,
    DPMSolver,
    Estimated,
    Exponential,
    Generated,
    Heun,
    Noise,
    Restart,
    Sampler,
    run,
)
from sfumato.samplers.horizons import auxiliary, horizons, start_gap

PROCESS = Gaussian(VP())


@dataclass(frozen=True, eq=False)
class Counted(Denoiser):
    """A denoiser that counts its calls and shifts its mean."""

    inner: Denoiser
    calls: list[int]
    shift: float = 0.0

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.inner.process

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        self.calls.append(len(x_t))
        estimate = self.inner(x_t, t)
        return replace(estimate, mean=estimate.mean + self.shift)


def draw(sampler: Sampler, denoiser: Denoiser, n: int, grid: Tensor, seed: int = 0) -> Tensor:
    streams = Streams.count(seed, n)
    level = denoiser.process.level(grid[0])
    x = denoiser.process.start(torch.zeros(n, 2, dtype=torch.float64), level, streams)
    return run(sampler, denoiser, x, grid, streams)


# adaptive steps


def test_a_smaller_tolerance_costs_more_and_errs_less() -> None:
    n, prior = 800, ring(PROCESS)
    truth = prior.sample(Streams.count(1, n))
    floor = float(sliced_w2(prior.sample(Streams.count(2, n)), truth))
    calls, gaps = [], []
    for tolerance in (0.5, 0.1, 0.05):
        counted = Counted(prior, [])
        sampler = Adaptive(tolerance, tolerance / 2)
        gaps.append(float(sliced_w2(draw(sampler, counted, n, log_snr(PROCESS, 2)), truth)))
        calls.append(len(counted.calls))
    assert calls[0] < calls[1] < calls[2]
    assert gaps[2] < 2 * floor
    assert gaps[0] > gaps[2]


def test_each_item_has_steps_of_its_own() -> None:
    prior, grid = ring(PROCESS), log_snr(PROCESS, 2)
    together, lengths = draw(Adaptive(0.2, 0.1), prior, 4, grid), set()
    for i in range(4):
        streams = Streams.count(0, 1, first=i)
        x = PROCESS.start(torch.zeros(1, 2).double(), PROCESS.level(grid[0]), streams)
        counted = Counted(prior, [])
        alone = run(Adaptive(0.2, 0.1), counted, x, grid, streams)
        torch.testing.assert_close(alone, together[i : i + 1], rtol=0, atol=1e-9)
        lengths.add(len(counted.calls))
    assert len(lengths) > 1


def test_adaptive_trajectories_are_the_same_under_any_schedule() -> None:
    ends = []
    for process in (Gaussian(VP()), Gaussian(EDM())):
        grid = process.schedule.time_of(torch.tensor([2.0, -2.0]).double())
        streams = Streams.count(0, 5)
        x = streams.normal(torch.zeros(5, 2).double()) * process.level(grid[0]).sigma
        end = run(Adaptive(0.1, 0.05), ring(process), x, grid, streams)
        ends.append(end / process.level(grid[1]).alpha)
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-6)


def spread_of(sampler: Adaptive, items: int, dims: int) -> float:
    """Variance of samples of N(0, ¼)."""
    mean = torch.zeros(dims, dtype=torch.float64)
    prior, grid = GaussianPrior(PROCESS, mean, mean + 0.25), log_snr(PROCESS, 2)
    rows = Streams.count(0, items)
    blank = torch.zeros(items, dims, dtype=torch.float64)
    x = PROCESS.start(blank, PROCESS.level(grid[0]), rows)
    return float(run(sampler, prior, x, grid, rows).var())


def test_with_a_small_tolerance_the_spread_is_that_of_the_data() -> None:
    found = spread_of(Adaptive(0.1, 0.05), 100, 64)
    assert found == pytest.approx(0.25, rel=5 * math.sqrt(2 / 6400) + 0.06)


def test_in_one_dimension_rejected_noise_is_missed() -> None:
    # as published, a step that is refused draws its noise anew: large noise is refused more often
    assert spread_of(Adaptive(0.1, 0.05), 400, 1) < 0.7 * 0.25


def test_without_noise_the_tolerance_bounds_the_error_of_the_ode() -> None:
    prior, grid = ring(PROCESS), log_snr(PROCESS, 2)
    x = PROCESS.start(torch.zeros(20, 2).double(), PROCESS.level(grid[0]), Streams.count(0, 20))
    exact = run(DPMSolver(3), prior, x, log_snr(PROCESS, 200), Streams.count(0, 20))
    gaps = []
    for tolerance in (0.03, 0.003):
        sampler = Adaptive(tolerance, tolerance, eta=0.0)
        found = run(sampler, prior, x, grid, Streams.count(0, 20))
        gaps.append(float((found - exact).square().mean().sqrt()))
    assert gaps[1] < gaps[0] / 3
    assert gaps[1] < 0.02


# restarts and churn


def test_a_restart_goes_up_by_the_process_and_comes_back() -> None:
    # on Gaussian data every leg is known: the law is kept, and the old state is half forgotten
    n, v = 4000, 0.25
    mean = torch.zeros(1, dtype=torch.float64)
    prior = GaussianPrior(Gaussian(EDM()), mean, mean + v)
    grid = prior.process.schedule.time_of(torch.tensor([math.log(0.5), math.log(0.14)]).double())
    t, s = prior.process.levels(grid)
    streams = Streams.count(0, n)
    x = (v + t.sigma**2).sqrt() * streams.normal(torch.zeros(n, 1).double())
    plain = run(Heun(), prior, x, grid, streams)
    again = run(Restart(rounds=1, steps=20, low=0.14, high=1.0), prior, x, grid, streams)
    expected = float(v + s.sigma**2)
    assert float(again.var()) == pytest.approx(expected, rel=5 * math.sqrt(2 / n) + 0.01)
    # the share of the old state that survives: its gain on the way down, times its loss going up
    kept = float((plain * again).mean() / plain.square().mean())
    up = prior.process.at_ratio(1.0)
    gain = math.sqrt(expected / float(v + up.sigma**2))
    assert kept == pytest.approx(gain, abs=5 / math.sqrt(n) + 0.02)


@pytest.mark.parametrize(
    "sampler",
    [
        Restart(rounds=4, steps=6, low=0.14, high=0.6),
        Heun(Churn(0.4)),
        Exponential(2, eta=1.0),
    ],
    ids=repr,
)
def test_noise_on_the_way_contracts_an_error_made_early(sampler: Sampler) -> None:
    # a start that is off by δ: the ODE carries all of it on, noise forgets some of it
    n, v, delta = 3000, 0.25, 0.5
    mean = torch.zeros(1, dtype=torch.float64)
    prior = GaussianPrior(Gaussian(EDM()), mean, mean + v)
    grid = log_snr(prior.process, 40, start=0.7)
    level = prior.process.level(grid[0])
    x = (v + level.sigma**2).sqrt() * Streams.count(9, n).normal(torch.zeros(n, 1).double())
    ends = [run(k, prior, x + delta, grid, Streams.count(0, n)).mean() for k in (Heun(), sampler)]
    assert float(ends[1]) < 0.75 * float(ends[0])


# starts


def gaussian(v: float) -> GaussianPrior:
    mean = torch.zeros(1, dtype=torch.float64)
    return GaussianPrior(PROCESS, mean, mean + v)


@pytest.mark.parametrize("t_0", [0.2, 0.4])
@pytest.mark.parametrize("stochastic", [True, False])
def test_what_is_left_of_an_estimates_error_is_as_predicted(t_0: float, stochastic: bool) -> None:
    n, v, delta = 4000, 0.25, 2.0
    prior, level = gaussian(v), PROCESS.level(t_0)
    streams = Streams.count(0, n)
    x_hat = math.sqrt(v) * Streams.count(1, n).normal(torch.zeros(n, 1).double()) + delta
    start = Estimated(x_hat, float(level.ratio))
    grid = log_snr(PROCESS, 60, start=start.ratio)
    x = start(PROCESS, torch.zeros(n, 1).double(), level, streams)
    sampler = DPMSolver(2, eta=1.0) if stochastic else DPMSolver(3)
    left = float(run(sampler, prior, x, grid, streams).mean())
    power = float(level.alpha**2 * v + level.sigma**2)
    share = float(level.alpha) * math.sqrt(v / power)
    predicted = delta * (share**2 if stochastic else share)
    assert left == pytest.approx(predicted, abs=3 * math.sqrt(2 * v / n) + 0.01)


def test_a_crude_generator_is_refined_from_a_low_level() -> None:
    n, prior = 6000, ring(PROCESS)
    crude = ring(PROCESS, spread=0.35)
    truth = prior.sample(Streams.count(1, n))
    level = PROCESS.level(0.2)
    gaps = {}
    for name, kind in {
        "crude": None,
        "generated": Generated(crude.sample, float(level.ratio)),
        "noise": Noise(),
    }.items():
        streams = Streams.count(0, n)
        if kind is None:
            found = crude.sample(streams)
        else:
            grid = uniform(PROCESS, 4, start=kind.ratio, end=0.03)
            blank = torch.zeros(n, 2, dtype=torch.float64)
            x = kind(PROCESS, blank, PROCESS.level(grid[0]), streams)
            found = run(DDIM(), prior, x, grid, streams)
        gaps[name] = float(sliced_w2(found, truth))
    floor = float(sliced_w2(prior.sample(Streams.count(2, n)), truth))
    assert gaps["generated"] < 0.06
    assert gaps["generated"] < floor + 0.03
    assert gaps["generated"] < gaps["crude"] / 2
    assert gaps["generated"] < gaps["noise"] / 2


def test_a_start_that_does_not_fit_is_refused() -> None:
    level, streams = PROCESS.level(0.5), Streams.count(0, 2)
    blank = torch.zeros(2, 3)
    with pytest.raises(InvalidOptionError, match="above 0"):
        Estimated(torch.zeros(3), 0.0)
    with pytest.raises(ShapeError, match="estimate to start from"):
        Estimated(torch.zeros(4), 1.0)(PROCESS, blank, level, streams)
    with pytest.raises(ShapeError, match="draw to start from"):
        Generated(lambda s: torch.zeros(len(s), 4), 1.0)(PROCESS, blank, level, streams)


# how much diffusion is enough


def test_the_gap_at_the_start_is_that_of_two_gaussians_and_falls() -> None:
    covariance = torch.tensor([[0.5, 0.2], [0.2, 0.4]], dtype=torch.float64)
    mean = torch.tensor([0.3, -0.1], dtype=torch.float64)
    gaps = []
    for t in (0.1, 0.3, 0.6, 1.0):
        level = PROCESS.level(t)
        q = torch.distributions.MultivariateNormal(
            level.alpha * mean, level.alpha**2 * covariance + level.sigma**2 * torch.eye(2)
        )
        p = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
        found = start_gap(PROCESS, t, mean, covariance, variance=1.0)
        torch.testing.assert_close(found, torch.distributions.kl_divergence(q, p))
        gaps.append(float(found))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-4


def analysed(shift: float, *, fitted: bool) -> tuple[Tensor, Tensor, float]:
    """Times, L(T) − entropy, and the best T for a Gaussian with an error of the mean."""
    v = 0.25
    times = torch.cat([torch.linspace(1, 0.01, 300).double(), torch.zeros(1).double()])
    levels = PROCESS.levels(times[:-1])
    errors = torch.stack([v * k.sigma**2 / (k.alpha**2 * v + k.sigma**2) for k in levels])
    table = horizons(
        PROCESS, times, errors + shift**2, torch.tensor([[v]]).double(), torch.zeros(1).double(),
        fitted=fitted,
    )  # fmt: skip
    entropy = (math.log(2 * math.pi * v) + 1) / 2
    return table.times, table.total - entropy, table.best


def test_with_the_exact_denoiser_only_the_mismatch_at_the_start_is_left() -> None:
    times, over, _ = analysed(0.0, fitted=False)
    v = torch.tensor([[0.25]]).double()
    for i in range(0, 250, 40):
        level = PROCESS.level(times[i])
        # E KL(q(x_T | x₀) ‖ ν) exceeds KL(q(x_T) ‖ ν) by the information that x_T has of x₀,
        # which the way down pays back
        gap = float(start_gap(PROCESS, float(times[i]), torch.zeros(1).double(), v))
        assert float(over[i]) == pytest.approx(gap, abs=0.01 + 0.02 * gap)
        assert level.sigma > 0


def test_the_mismatch_with_pure_noise_counts_the_mean_and_a_fitted_start_does_not() -> None:
    times = torch.linspace(1, 0, 12, dtype=torch.float64)
    level, v, m = PROCESS.level(times[:-1]), torch.tensor([[0.2, 0.1], [0.1, 0.3]]).double(), 0.7
    mean = torch.tensor([m, -m]).double()
    found = [horizons(PROCESS, times, torch.full((11,), 0.1).double(), v, mean, fitted=fitted).start
             for fitted in (False, True)]  # fmt: skip
    # E KL(N(α x₀, σ²) ‖ N(0, σ²)), and E KL(N(α x₀, σ²) ‖ N(α m, α² C + σ²)) = ½ ln det
    power = level.ratio**-2
    torch.testing.assert_close(found[0], power * (0.5 + 2 * m**2) / 2 / 2)
    ratio = torch.linalg.det(power[:, None, None] * v + torch.eye(2).double())
    torch.testing.assert_close(found[1], ratio.log() / 2 / 2)


@pytest.mark.parametrize("fitted", [True, False])
def test_the_criterion_is_per_element(fitted: bool) -> None:
    times = torch.cat([torch.linspace(1, 0.01, 20).double(), torch.zeros(1).double()])
    errors = torch.linspace(0.2, 0.01, 20, dtype=torch.float64)
    found = [
        horizons(
            PROCESS, times, errors, 0.25 * torch.eye(size).double(),
            torch.full((size,), 0.3).double(), fitted=fitted,
        ).total
        for size in (1, 3)
    ]  # fmt: skip
    torch.testing.assert_close(found[0], found[1])


def test_a_network_that_errs_is_best_started_below_the_end() -> None:
    *_, exact = analysed(0.0, fitted=False)
    *_, plain = analysed(0.02, fitted=False)
    *_, fitted = analysed(0.02, fitted=True)
    assert exact > 0.9  # nothing to gain from less
    assert plain < 0.8
    assert fitted < 0.5 * plain  # an auxiliary density moves it further down


def test_the_auxiliary_density_has_the_moments_of_the_data() -> None:
    data = ring(PROCESS).sample(Streams.count(0, 2000))
    prior = auxiliary(PROCESS, data)
    torch.testing.assert_close(prior.mean, data.mean(0))
    torch.testing.assert_close(prior.covariance, torch.cov(data.T))
    start = Generated(prior.sample, 1.0)
    x = start(PROCESS, torch.zeros(3, 2), PROCESS.at_ratio(1.0), Streams.count(0, 3))
    assert x.shape == (3, 2)
