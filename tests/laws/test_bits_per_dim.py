"""Likelihoods of Gaussian processes: exact where the denoiser is, bounds where it is not."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import (
    Condition,
    DataSetPrior,
    Denoiser,
    Estimate,
    Exact,
    GaussianPrior,
    MixturePrior,
)
from sfumato.errors import InvalidOptionError, UnknownNameError, UnsupportedError
from sfumato.likelihood import (
    Belief,
    Bound,
    Budget,
    Values,
    bits_per_dim,
    dequantise,
    flow_nats,
    gaussian_bound,
)
from sfumato.noise import Streams
from sfumato.processes import (
    EDM,
    VE,
    VP,
    Cosine,
    Fade,
    Flow,
    Gaussian,
    Level,
    Spectral,
    Student,
    SubVP,
    log_snr,
)
from sfumato.samplers import EulerMaruyama, Heun, Sampler, run
from sfumato.training.times import LogUniform, Times, Uniform

SCHEDULES = [EDM(), VP(), SubVP(), VE(0.01, 50.0), Flow(), Cosine()]
ITEMS = 16
BUDGET = Budget(draws=128, batch=4096)


def ring(process: Gaussian) -> MixturePrior:
    """Five Gaussians on a circle."""
    angle = torch.arange(5, dtype=torch.float64) * math.tau / 5
    means = torch.stack([angle.cos(), angle.sin()], dim=1)
    return MixturePrior(process, torch.ones(5), means, torch.full_like(means, 0.15**2))


def correlated(process: Gaussian) -> GaussianPrior:
    place = torch.arange(4, dtype=torch.float64)
    return GaussianPrior(process, place / 4, 0.3 * 0.8 ** (place[:, None] - place).abs())


def independent(process: Gaussian) -> GaussianPrior:
    mean = torch.tensor([0.5, -0.2, 0.0], dtype=torch.float64)
    return GaussianPrior(process, mean, torch.tensor([0.25, 0.04, 1.0], dtype=torch.float64))


def exact_nats(prior: Exact, y: Tensor) -> Tensor:
    """−ln p of y = x/α at the smallest noise."""
    t = prior.process.level(prior.process.schedule.t_min)
    jacobian = y[0].numel() * t.alpha.log()
    return -prior.log_prob(t.alpha * y, t) - jacobian


@dataclass(frozen=True, eq=False)
class Bent(Denoiser):
    """A denoiser that is wrong by a factor."""

    inner: Denoiser
    factor: float

    @property
    def process(self) -> Gaussian:  # type: ignore[override]
        return self.inner.process

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        return Estimate(self.factor * self.inner(x_t, t, condition).mean)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_the_flow_has_the_density_of_the_data(schedule: VP) -> None:
    prior = ring(Gaussian(schedule))
    x = prior.sample(Streams.count(0, ITEMS))
    found = flow_nats(prior, x, Streams.count(1, ITEMS), steps=40)
    gap = found.nats - exact_nats(prior, x)
    # the prior is pure noise, where some of the data are left
    left = 1 / float(prior.process.level(schedule.t_max).ratio)
    assert float(gap.square().mean().sqrt()) < 2e-3 + 3 * left**2
    assert float(found.error.max()) == 0


def test_a_hundred_steps_of_the_flow_leave_less_than_a_ten_thousandth_of_a_nat() -> None:
    prior = ring(Gaussian(VP()))
    x = prior.sample(Streams.count(0, ITEMS))
    found = flow_nats(prior, x, Streams.count(1, ITEMS), steps=100)
    assert float((found.nats - exact_nats(prior, x)).square().mean().sqrt()) < 1e-4


def test_the_error_of_the_flow_falls_with_the_fourth_power_of_the_step() -> None:
    prior = ring(Gaussian(EDM()))
    x = prior.sample(Streams.count(0, ITEMS))
    streams = Streams.count(1, ITEMS)
    exact = exact_nats(prior, x)
    errors = [
        float((flow_nats(prior, x, streams, steps=n).nats - exact).square().mean().sqrt())
        for n in (16, 32)
    ]
    assert math.log2(errors[0] / errors[1]) > 3.4


def test_probes_estimate_the_trace_without_bias_and_know_their_error() -> None:
    prior = correlated(Gaussian(EDM()))
    n = 200
    x = prior.sample(Streams.count(0, n))
    exact = flow_nats(prior, x, Streams.count(1, n), steps=15).nats
    found = flow_nats(prior, x, Streams.count(1, n), steps=15, probes=8)
    z = (found.nats - exact) / found.error
    assert abs(float(z.mean())) < 5 * float(z.std()) / math.sqrt(n)
    assert 0.8 < float(z.std()) < 1.8  # t with 7 degrees of freedom has 1.18
    assert float(found.error.mean()) > 0.05


def test_an_item_keeps_its_probes_and_its_value_in_any_batch() -> None:
    prior = correlated(Gaussian(EDM()))
    x = prior.sample(Streams.count(0, 3))
    whole = flow_nats(prior, x, Streams.count(1, 3), steps=5, probes=2)
    alone = flow_nats(prior, x[1:2], Streams.count(1, 1, first=1), steps=5, probes=2)
    assert torch.allclose(whole.nats[1:2], alone.nats, rtol=0, atol=1e-10)
    bound = gaussian_bound(prior, x, Streams.count(1, 3))
    single = gaussian_bound(prior, x[1:2], Streams.count(1, 1, first=1))
    assert torch.allclose(bound.nats[1:2], single.nats, rtol=0, atol=1e-10)


@pytest.mark.parametrize("estimate", ["bound", "steps", "flow"])
def test_bits_per_dim_of_a_gaussian_are_its_entropy(estimate: str) -> None:
    prior, n = independent(Gaussian(EDM())), 300
    x, streams = prior.sample(Streams.count(0, n)), Streams.count(1, n)
    if estimate == "flow":
        found = flow_nats(prior, x, streams, steps=25)
    else:
        grid = log_snr(prior.process, 7) if estimate == "steps" else None
        found = gaussian_bound(prior, x, streams, grid=grid, variance="calibrated", budget=BUDGET)
    entropy = float((math.tau * math.e * prior.covariance).log().mean()) / 2 / math.log(2)
    scatter = float(found.nats.std()) / 3 / math.log(2) / math.sqrt(n)
    bits = bits_per_dim(found, 3)
    assert bits.value == pytest.approx(entropy, abs=3 * math.hypot(scatter, bits.error))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_with_the_exact_denoiser_the_bound_of_every_item_is_an_equality(schedule: VP) -> None:
    prior = ring(Gaussian(schedule))
    x = prior.sample(Streams.count(0, ITEMS))
    found = gaussian_bound(prior, x, Streams.count(1, ITEMS), budget=BUDGET)
    t_min = float(prior.process.level(schedule.t_min).ratio)
    gap = found.nats - exact_nats(prior, x)
    # the decoder does not know that data near x_ε are not equally likely
    assert float((gap.abs() - 5 * found.error).max()) < 4 * (t_min / 0.15) ** 2 + 1e-3


@pytest.mark.parametrize("steps", [2, 5, 20])
def test_with_the_conditional_variance_the_bound_is_an_equality_at_any_number_of_steps(
    steps: int,
) -> None:
    prior = independent(Gaussian(VP()))
    grid = log_snr(prior.process, steps)
    x = prior.sample(Streams.count(0, ITEMS))
    found = gaussian_bound(
        prior, x, Streams.count(1, ITEMS), grid=grid, variance="calibrated", budget=BUDGET
    )
    gap = found.nats - exact_nats(prior, x)
    assert float((gap.abs() - 5 * found.error).max()) < 0.05
    worse = gaussian_bound(prior, x, Streams.count(1, ITEMS), grid=grid, budget=BUDGET)
    assert float((worse.nats - found.nats).mean()) > 0.05


def test_a_grid_that_starts_low_pays_for_the_mismatch_with_noise() -> None:
    """−ln p = KL(N(α x₀, σ²) ‖ N(0, σ²)) + (1 + ln 2π)/2 + ln σ/α for one level and no step."""
    prior = independent(Gaussian(VP()))
    x = prior.sample(Streams.count(0, ITEMS))
    for ratio in (0.3, 1.0):
        level = prior.process.at_ratio(ratio)
        grid = torch.stack([level.t, torch.zeros_like(level.t)])
        found = gaussian_bound(prior, x, Streams.count(1, ITEMS), grid=grid, budget=BUDGET).nats
        each = (level.alpha * x).square() / (2 * level.sigma**2) + math.log(math.tau) / 2
        each = each + 0.5 + level.log_ratio
        torch.testing.assert_close(found, each.flatten(1).sum(dim=1))


def test_with_few_steps_what_is_known_of_the_variance_orders_the_bounds() -> None:
    prior, n = ring(Gaussian(VP())), 64
    time = torch.linspace(1, 0, 11, dtype=torch.float64) ** 2
    time[:-1] = time[:-1].clamp(min=1e-3)
    x, streams = prior.sample(Streams.count(0, n)), Streams.count(1, n)

    def spread(t: Level) -> Tensor:
        """E[Var] over data at a level, the best single number (Bao et al., 2022)."""
        found = {}
        for time in t.t.unique():
            level = prior.process.level(time)
            x_t = prior.process.corrupt(x, level, Streams.count(2, n).normal(x))
            variance = prior(x_t, level).variance
            assert variance is not None
            found[float(time)] = variance.mean()
        return torch.stack([found[float(time)] for time in t.t])

    budget = Budget(draws=90, batch=8192)
    means = [
        float(gaussian_bound(prior, x, streams, grid=time, variance=v, budget=budget).nats.mean())
        for v in ("small", "large", spread, "calibrated")
    ]
    assert means == sorted(means, reverse=True)
    assert min(a - b for a, b in itertools.pairwise(means)) > 0.05


def test_a_wrong_reverse_process_is_bounded_and_its_flow_is_measured() -> None:
    n = 2000
    process = Gaussian(EDM(sigma_min=0.01, sigma_max=40.0))
    scalar = GaussianPrior(process, torch.zeros(1).double(), torch.full((1,), 0.25).double())
    wrong = Bent(scalar, 0.9)
    x = scalar.sample(Streams.count(0, 200))

    def spread_of(sampler: Sampler, steps: int) -> float:
        grid, streams = log_snr(process, steps), Streams.count(3, n)
        start = process.start(torch.zeros(n, 1).double(), process.level(grid[0]), streams)
        return float(run(sampler, wrong, start, grid[:-1], streams).var())

    def nats(variance: float) -> Tensor:
        return (math.log(math.tau * variance) + x[:, 0] ** 2 / variance) / 2

    noise = 5 * math.sqrt(2 / n)
    flow = flow_nats(wrong, x, Streams.count(1, 200), steps=20).nats
    model = nats(spread_of(Heun(), 30))
    assert float((flow - model).abs().mean()) < noise
    bound = gaussian_bound(wrong, x, Streams.count(1, 200), budget=BUDGET)
    reverse = nats(spread_of(EulerMaruyama(), 60))
    assert float((bound.nats - reverse).mean()) > -noise
    honest = gaussian_bound(scalar, x, Streams.count(1, 200), budget=BUDGET)
    assert float((bound.nats - honest.nats).mean()) > 0.02


class Long(VP):
    t_min = 1e-5


def test_levels_drawn_by_their_importance_lower_the_variance_hundredfold() -> None:
    process = Gaussian(Long())
    ends = [float(process.level(t).log_ratio) for t in (process.schedule.t_min, 1.0)]
    rho = torch.linspace(*ends, 2001, dtype=torch.float64)
    t = process.schedule.time_of(rho)
    level = process.level(t)
    seen, true = 0.36, 0.25  # the variance that the denoiser believes in, and that of the data
    gain = level.alpha * seen / (level.alpha**2 * seen + level.sigma**2)
    square = (1 - gain * level.alpha) ** 2 * true + (gain * level.sigma) ** 2
    term = level.ratio**-2 * square

    def variance(times: Times) -> float:
        """Of term · (x₀ − x̂)²/E(x₀ − x̂)² over its density in ρ; the fourth moment is 3."""
        moment = torch.trapezoid(3 * term**2 / times.density(process, t), rho)
        return float(moment - torch.trapezoid(term, rho) ** 2)

    assert variance(Uniform()) / variance(LogUniform()) > 100


def test_importance_times_of_vp_are_those_of_its_closed_form() -> None:
    process = Gaussian(Long())
    u = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    t = LogUniform().quantile(process, u)
    integral = 0.5 * t**2 * 19.9 + 0.1 * t
    place = torch.expm1(integral).log()  # ∫ g²/σ² dt = ln(e^B − 1)
    ends = [math.log(math.expm1(0.5 * e**2 * 19.9 + 0.1 * e)) for e in (1e-5, 1.0)]
    assert torch.allclose((place - ends[0]) / (ends[1] - ends[0]), u, atol=1e-9)


def test_how_levels_are_drawn_does_not_change_the_bound() -> None:
    prior = ring(Gaussian(VP()))
    x = prior.sample(Streams.count(0, 64))
    by_time, by_ratio = (
        gaussian_bound(prior, x, Streams.count(1, 64), by_time=flag, budget=BUDGET)
        for flag in (True, False)
    )
    error = float((by_time.error.square() + by_ratio.error.square()).sum().sqrt()) / 64
    assert abs(float((by_time.nats - by_ratio.nats).mean())) < 4 * error
    assert by_time.error.mean() > 2 * by_ratio.error.mean()


def test_whole_numbers_have_their_probability() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5], dtype=torch.float64)
    points = torch.cartesian_prod(values, values)
    prior = DataSetPrior(Gaussian(EDM()), points)
    x = points[:4]
    decoder = Values(low=-1.0, width=0.5, count=5)
    found = gaussian_bound(prior, x, Streams.count(1, 4), decoder=decoder, budget=BUDGET)
    assert float((found.nats - math.log(9)).abs().max()) < 5 * float(found.error.max()) + 1e-3


def test_a_decoder_over_values_is_their_posterior() -> None:
    process = Gaussian(VP())
    t = process.level(0.2)
    decoder = Values(low=0.0, width=1 / 8, count=9)
    values = torch.arange(9, dtype=torch.float64)[:, None] / 8
    x_t = torch.full((9, 1), 0.3).double()
    nats = decoder(values, x_t, t)
    likelihood = torch.distributions.Normal(t.alpha * values, t.sigma).log_prob(x_t).exp()
    assert torch.allclose((-nats).exp(), (likelihood / likelihood.sum())[:, 0], atol=1e-12)


def test_a_decoder_that_believes_is_the_density_of_its_gaussian() -> None:
    prior = independent(Gaussian(VP()))
    t, streams = prior.process.level(0.4), Streams.count(1, 20)
    x = prior.sample(Streams.count(0, 20))
    x_t = prior.process.corrupt(x, t, streams.normal(x))
    estimate = prior(x_t, t)
    assert estimate.variance is not None
    for decoder, variance in (
        (Belief(prior), estimate.variance),
        (Belief(prior, lambda _: torch.tensor(0.3)), torch.full_like(x, 0.3)),
    ):
        expected = -torch.distributions.Normal(estimate.mean, variance.sqrt()).log_prob(x)
        torch.testing.assert_close(decoder(x, x_t, t), expected.sum(dim=1), rtol=1e-6, atol=1e-6)
    with pytest.raises(UnsupportedError, match="knows its spread"):
        Belief(Bent(prior, 1.0))(x, x_t, t)


@pytest.mark.parametrize("origin", [0.0, 0.05])
def test_steps_are_counted_from_any_origin(origin: float) -> None:
    x = origin + 0.25 * torch.arange(6, dtype=torch.float64)[:, None]
    noisy = dequantise(x, 0.25, Streams.count(0, 6))
    assert ((noisy >= x) & (noisy < x + 0.25)).all()


def test_dequantised_data_bound_the_bits_of_the_whole_numbers() -> None:
    width, n, v = 1 / 8, 3000, 0.25
    prior = GaussianPrior(Gaussian(EDM()), torch.zeros(1).double(), torch.full((1,), v).double())
    x = (prior.sample(Streams.count(0, n)) / width).floor() * width
    noisy = dequantise(x, width, Streams.count(2, n))
    nats = exact_nats(prior, noisy)
    bits = bits_per_dim(Bound(nats, torch.zeros(n)), 1, width=width)
    normal = torch.distributions.Normal(0.0, math.sqrt(v))
    probability = normal.cdf(x + width) - normal.cdf(x)
    truth = float(-probability.log2().mean())
    noise = 5 * float(nats.std()) / math.log(2) / math.sqrt(n)
    assert truth - noise < bits.value < truth + noise
    assert ((noisy >= x) & (noisy < x + width)).all()


def test_bits_count_the_width_of_a_step() -> None:
    flat = Bound(torch.zeros(5), torch.zeros(5))  # a density of 1
    assert bits_per_dim(flat, 7, width=1 / 256).value == pytest.approx(8)
    assert bits_per_dim(flat, 7, width=2 / 256).value == pytest.approx(7)


def test_the_flow_of_pfgm_starts_from_its_own_noise() -> None:
    process = Student(EDM(sigma_min=0.3, sigma_max=80.0), 3)
    prior = DataSetPrior(process, ring(Gaussian()).sample(Streams.count(0, 20)))
    x = prior.points + 0.2
    found = flow_nats(prior, x, Streams.count(1, 20), steps=30)
    exact = -prior.log_prob(x, process.level(process.schedule.t_min))
    assert float((found.nats - exact).abs().max()) < 0.01
    with pytest.raises(UnsupportedError, match="Gaussian noise"):
        gaussian_bound(prior, x, Streams.count(1, 20))


def test_a_bound_of_few_steps_is_an_equality_where_frequencies_have_levels_of_their_own() -> None:
    process = Spectral(VP(), Fade(torch.tensor([0.0, 1.0, 4.0]).double()))
    prior = independent(process)
    grid = log_snr(process, 6)
    x = prior.sample(Streams.count(0, ITEMS))
    found = gaussian_bound(
        prior, x, Streams.count(1, ITEMS), grid=grid, variance="calibrated", budget=BUDGET
    )
    normal = torch.distributions.Normal(prior.mean, prior.covariance.sqrt())
    gap = found.nats + normal.log_prob(x).sum(dim=1)
    # at the end noise has faded the data's own spread a little, and the start is not quite noise
    assert float((gap.abs() - 5 * found.error).max()) < 0.05
    with pytest.raises(UnsupportedError, match="one level"):
        gaussian_bound(prior, x, Streams.count(1, ITEMS))
    with pytest.raises(UnsupportedError, match="one level"):
        flow_nats(prior, x, Streams.count(1, ITEMS))


def test_what_cannot_be_bounded_is_refused() -> None:
    prior = independent(Gaussian(VP()))
    x, streams = torch.zeros(2, 3).double(), Streams.count(0, 2)
    with pytest.raises(UnknownNameError, match="variance"):
        gaussian_bound(prior, x, streams, variance="larg")
    with pytest.raises(InvalidOptionError, match="end in 0"):
        gaussian_bound(prior, x, streams, grid=torch.tensor([1.0, 0.5]).double())
    with pytest.raises(UnsupportedError, match="knows its spread"):
        gaussian_bound(
            Bent(prior, 1.0), x, streams, grid=log_snr(prior.process, 3), variance="calibrated"
        )
    with pytest.raises(InvalidOptionError, match="2 or more"):
        flow_nats(prior, x, streams, probes=1)
    with pytest.raises(InvalidOptionError, match="not in steps"):
        dequantise(torch.tensor([[0.0], [0.3]]), 0.25, Streams.count(0, 2))
    with pytest.raises(InvalidOptionError, match="none of its values"):
        gaussian_bound(prior, x + 0.1, streams, decoder=Values(0.0, 0.5, 3))
