"""Variance providers, the bound of a chain, and the grids and starts that follow from it."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from ring import ring
from torch import Tensor

from sfumato.denoisers import (
    AnalyticVariance,
    Condition,
    Denoiser,
    Estimate,
    GaussianPrior,
    SquareHead,
    mean_square_errors,
)
from sfumato.errors import InvalidOptionError, ShapeError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import (
    VP,
    Flow,
    FractionalBeta,
    Gaussian,
    Level,
    LinearBeta,
    log_snr,
    var_linear,
    var_quadratic,
)
from sfumato.samplers import DDIM, DDPM, run
from sfumato.samplers.planning import (
    dynamic_grid,
    path_cost,
    shortest,
    step_costs,
)
from sfumato.samplers.variances import kernel_kl

PROCESS = Gaussian(VP())
TIMES = torch.cat([torch.linspace(1, 1e-3, 120).double(), torch.zeros(1).double()])


def isotropic(process: Gaussian, v: float = 0.25, size: int = 1) -> GaussianPrior:
    mean = torch.zeros(size, dtype=torch.float64)
    return GaussianPrior(process, mean, torch.full_like(mean, v))


@functools.cache
def errors() -> Tensor:
    """E‖x₀ − x̂‖²/2 of the ring at TIMES."""
    streams = Streams.count(0, 4000)
    prior = ring(PROCESS)
    return mean_square_errors(prior, prior.sample(streams), TIMES[:-1], streams)


# the variance itself


@pytest.mark.parametrize("by", ["error", "score"])
def test_the_measured_variance_is_that_of_the_posterior(by: str) -> None:
    n, prior = 20_000, isotropic(PROCESS)
    streams = Streams.count(0, n)
    model = AnalyticVariance.measured(prior, prior.sample(streams), streams, by=by, levels=12)
    for t in (0.1, 0.4, 0.9):
        level = PROCESS.level(t)
        exact = float(prior(torch.zeros(1, 1).double(), level).variance)
        # C = (σ²/α²)(1 − Γ): near Γ = 1 the score's route has the larger error
        error = 5 * math.sqrt(2 / n) * (exact if by == "error" else float(level.ratio**2))
        assert float(model.variance(level)) == pytest.approx(exact, abs=error + 0.02 * exact)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [2, 10])
def test_the_exact_variance_makes_any_number_of_steps_exact(steps: int, eta: float) -> None:
    n, v = 4000, 0.25
    prior = isotropic(PROCESS, v)
    level = log_snr(PROCESS, 30)[:-1].flip(0)
    log_ratios = PROCESS.schedule.log_ratio(level)
    shares = v / (v + (2 * log_ratios).exp())
    model = AnalyticVariance(prior, log_ratios, shares)
    grid = log_snr(PROCESS, steps)
    streams = Streams.count(0, n)
    x = PROCESS.start(torch.zeros(n, 1).double(), PROCESS.level(grid[0]), streams)
    exact = run(DDIM(eta, calibrated=True), model, x, grid, streams).var()
    assert float(exact) == pytest.approx(v, rel=5 * math.sqrt(2 / n) + 2e-3)
    # the mutant C = 0 loses spread
    nothing = AnalyticVariance(prior, log_ratios, 0 * shares)
    lost = run(DDIM(eta, calibrated=True), nothing, x, grid, Streams.count(0, n)).var()
    assert float(lost) < 0.9 * v


def test_the_kernel_has_the_variance_of_the_formula() -> None:
    t, s, c = PROCESS.level(0.6), PROCESS.level(0.4), 0.1
    model = AnalyticVariance(
        isotropic(PROCESS), torch.tensor([-5.0, 5.0]).double(),
        (c / t.ratio**2).expand(2).clone(),
    )  # fmt: skip
    n = 20_000
    x = torch.ones(n, 1).double()
    for eta in (0.0, 0.7):
        found = DDIM(eta, calibrated=True).step(model, x, t, s, Streams.count(0, n), []).var()
        beta = s.sigma**2 * (1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2)
        k = s.alpha - (s.sigma**2 - eta**2 * beta).sqrt() / t.sigma * t.alpha
        expected = float(eta**2 * beta + k**2 * c)
        assert float(found) == pytest.approx(expected, rel=5 * math.sqrt(2 / n))


# heads


@dataclass(frozen=True, eq=False)
class Biased(Denoiser):
    """The ring's denoiser with ε̂ off by a constant."""

    process: Gaussian
    bias: float

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        mean = ring(self.process)(x_t, t).mean
        return Estimate(mean - t.sigma / t.alpha * self.bias)


def exact_head(kind: str, level: Level, bias: float) -> Callable[..., Tensor]:
    """E[ε² | x_t] or E[(ε − ε̂)² | x_t] in closed form."""

    def head(x: Tensor, label: Tensor) -> Tensor:
        x_t = x * (level.alpha**2 + level.sigma**2).sqrt()
        estimate = ring(PROCESS)(x_t, level)
        eps = (x_t - level.alpha * estimate.mean) / level.sigma
        variance = estimate.variance / level.ratio**2
        return variance + (eps**2 if kind == "sn" else bias**2)

    return head


def test_both_heads_give_the_exact_variance_of_an_exact_mean() -> None:
    level = PROCESS.level(0.4)
    x_t = Streams.count(0, 50).normal(torch.zeros(50, 2).double())
    exact = ring(PROCESS)(x_t, level).variance
    for kind in ("sn", "npr"):
        model = SquareHead(ring(PROCESS), exact_head(kind, level, 0.0), kind)
        torch.testing.assert_close(model(x_t, level).variance, exact, rtol=1e-9, atol=1e-9)


def test_npr_is_right_around_a_wrong_mean_and_sn_is_not() -> None:
    level, n, bias = PROCESS.level(0.4), 4000, 0.3
    streams = Streams.count(0, n)
    x_0 = ring(PROCESS).sample(streams)
    x_t = PROCESS.corrupt(x_0, level, streams.normal(x_0))
    scores = {}
    for kind in ("sn", "npr"):
        model = SquareHead(Biased(PROCESS, bias), exact_head(kind, level, bias), kind)
        estimate = model(x_t, level)
        v = estimate.variance.clamp(min=1e-3)
        square = (x_0 - estimate.mean).square()
        scores[kind] = float((v.log() + square / v).mean()) / 2
    assert scores["npr"] < scores["sn"] - 0.05


# the cost of a step, and the grid that costs least


def test_a_step_costs_what_the_divergence_of_two_gaussians_is() -> None:
    t, s, square, extra = PROCESS.level(0.5), PROCESS.level(0.3), 0.2, 0.05
    ratio = (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2
    beta, keep = s.sigma**2 * (1 - ratio), s.alpha * (1 - ratio)
    q = torch.distributions.Normal(keep * square**0.5, beta.sqrt())
    p = torch.distributions.Normal(torch.zeros(()).double(), (beta + extra).sqrt())
    expected = torch.distributions.kl_divergence(q, p)
    found = kernel_kl(t, s, torch.tensor(square).double(), beta + extra)
    torch.testing.assert_close(found, expected)


def test_the_dynamic_grid_is_the_best_of_all_subsets() -> None:
    index = torch.linspace(0, len(TIMES) - 2, 8).round().long().tolist()
    times, few = TIMES[[*index, -1]], errors()[index]
    costs = step_costs(PROCESS, times, few)
    for steps in range(1, 9):
        inner = itertools.combinations(range(1, 8), steps - 1)
        best = min(float(path_cost(costs, [0, *path, 8])) for path in inner)
        found = shortest(costs, steps)
        assert len(found) == steps + 1
        assert float(path_cost(costs, found)) == pytest.approx(best, abs=1e-12)


def test_the_dynamic_grid_is_a_grid() -> None:
    grid = dynamic_grid(PROCESS, 6, TIMES, errors())
    assert len(grid) == 7
    assert (grid.diff() < 0).all()
    assert (grid[0], grid[-1]) == (TIMES[0], 0)


# FastDPM


def test_the_gamma_function_is_the_table_and_more() -> None:
    table = torch.tensor(LinearBeta().alphas_cumprod, dtype=torch.float64).log()
    found = FractionalBeta().log_alpha_bar(torch.arange(1000))
    torch.testing.assert_close(found, table, rtol=0, atol=1e-10)
    between = FractionalBeta().log_alpha_bar(torch.tensor([10.5, 500.25]))
    assert table[11] < between[0] < table[10]
    assert table[501] < between[1] < table[500]


@pytest.mark.parametrize("make", [var_linear, var_quadratic])
@pytest.mark.parametrize("schedule", [VP(), Flow(), FractionalBeta()], ids=repr)
def test_the_variances_of_a_grid_multiply_to_its_ends(
    make: Callable[..., Tensor], schedule
) -> None:
    process = Gaussian(schedule)
    grid = make(process, 10)[:-1]
    bars = torch.sigmoid(-2 * schedule.log_ratio(grid)).flip(0)
    etas = 1 - bars / torch.cat([torch.ones(1).double(), bars[:-1]])
    growth = etas if make is var_linear else etas.sqrt()
    steps = growth.diff()
    torch.testing.assert_close(steps, steps.mean().expand(9), rtol=1e-3, atol=1e-6)
    top = torch.sigmoid(-2 * schedule.log_ratio(torch.tensor(schedule.t_max, dtype=torch.float64)))
    assert float(bars[-1]) == pytest.approx(float(top), rel=1e-6)


# refusals


def test_what_makes_no_sense_is_refused() -> None:
    prior, ones = isotropic(PROCESS), torch.ones(3).double()
    data = torch.zeros(2, 1).double()
    with pytest.raises(InvalidOptionError, match="error' or 'score"):
        AnalyticVariance.measured(prior, data, Streams.count(0, 2), by="guess")
    with pytest.raises(InvalidOptionError, match="increasing"):
        AnalyticVariance(prior, ones, ones)
    with pytest.raises(InvalidOptionError, match="sn"):
        SquareHead(prior, torch.relu, "guess")
    with pytest.raises(InvalidOptionError, match="small"):
        step_costs(PROCESS, TIMES, errors(), variance="guess")
    with pytest.raises(ShapeError):
        step_costs(PROCESS, TIMES, errors()[1:])
    with pytest.raises(InvalidOptionError, match="use 1 to"):
        shortest(torch.zeros(4, 4), 4)
    with pytest.raises(UnsupportedError, match="knows its spread"):
        run(
            DDIM(calibrated=True), Biased(PROCESS, 0.0), torch.ones(1, 2), TIMES[[0, -1]],
            Streams.count(0, 1),
        )  # fmt: skip
    assert DDPM("calibrated")
