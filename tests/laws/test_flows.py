"""Flows between data sets: couplings, straight paths, translation, and heavier-tailed noise."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from scipy import optimize, stats
from torch import Tensor, nn

from sfumato.denoisers import (
    Between,
    DataSetPrior,
    GaussianPrior,
    MixturePrior,
    Preconditioned,
)
from sfumato.errors import InvalidOptionError, ShapeError, UnsupportedError
from sfumato.evaluation.distances import sliced_w2
from sfumato.noise import Streams
from sfumato.processes import EDM, VP, Flow, Gaussian, Student, karras, like, log_snr
from sfumato.samplers import (
    DDIM,
    Churn,
    DPMSolver,
    Estimated,
    Euler,
    Exponential,
    Generated,
    Heun,
    Sampler,
    SingleStep,
    encode,
    run,
    translate,
)
from sfumato.training import TrainConfig, denoising_loss, loop
from sfumato.training.couplings import Pairs, assignment, optimal
from sfumato.training.interpolants import interpolant_loss

FLOW = Gaussian(Flow())


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ring(process: Gaussian = FLOW) -> MixturePrior:
    angle = torch.arange(5, dtype=torch.float64) * math.tau / 5
    means = torch.stack([angle.cos(), angle.sin()], dim=1)
    return MixturePrior(process, torch.ones(5), means, torch.full_like(means, 0.15**2))


def bars(process: Gaussian = FLOW) -> MixturePrior:
    means = torch.tensor([[-1.5, 0.5], [1.5, -0.5]], dtype=torch.float64)
    return MixturePrior(process, torch.tensor([0.3, 0.7]), means, torch.full_like(means, 0.04))


def straight(steps: int, first: float = 1.0) -> Tensor:
    return torch.linspace(first, 0, steps + 1, dtype=torch.float64)


# --- straight paths -------------------------------------------------------------------------------


def test_euler_on_the_velocity_is_alpha_blending_and_ddim() -> None:
    """x ← x + (α' − α) D with D = E[x₁ − x₀ | x_t], whatever x₁ is (α-blending, algorithm 4)."""
    denoiser = Between(FLOW, ring(), bars())
    x_1 = bars().sample(Streams.count(0, 64))
    grid, x = straight(20), x_1
    for t, s in itertools.pairwise(FLOW.levels(grid)):
        velocity = (x - denoiser(x, t).mean) / t.sigma
        x = x + (s.t - t.t) * velocity
    for sampler in (DDIM(), Euler()):
        found = run(sampler, denoiser, x_1, grid, Streams.count(1, 64))
        assert float((found - x).abs().max()) < 1e-13


def test_ddim_is_the_same_under_every_schedule_on_a_common_grid() -> None:
    ratios = torch.linspace(4, -4, 9, dtype=torch.float64)
    noise, ends = normal(16, 2), []
    for process in (FLOW, Gaussian(VP()), Gaussian(EDM())):
        times = process.schedule.time_of(ratios)
        start = like(process.level(times[0]).sigma, noise) * noise
        x = run(DDIM(), ring(process), start, times, Streams.count(0, 16))
        ends.append(x / process.level(times[-1]).alpha)
    assert torch.allclose(ends[0], ends[1], atol=1e-12)
    assert torch.allclose(ends[0], ends[2], atol=1e-12)


def test_the_exact_denoiser_between_mixtures_is_the_mean_of_what_is_mixed() -> None:
    """Checked by regression: the error is uncorrelated with functions of x_t."""
    n, t = 40_000, FLOW.level(0.4)
    x_0, x_1 = ring().sample(Streams.count(0, n)), bars().sample(Streams.count(1, n))
    x_t = FLOW.corrupt(x_0, t, x_1)
    error = x_0 - Between(FLOW, ring(), bars())(x_t, t).mean
    for probe in (torch.ones_like(x_t), x_t, x_t.sin(), (x_t > 0.3).double(), x_t.flip(1)):
        product = error * probe
        z = product.mean(dim=0) / product.std(dim=0) * math.sqrt(n)
        assert float(z.abs().max()) < 5


@pytest.mark.parametrize("backwards", [False, True], ids=["to the ring", "to the bars"])
def test_a_rectified_flow_carries_one_data_set_to_the_other(backwards: bool) -> None:
    n = 1500
    source, target = (ring(), bars()) if backwards else (bars(), ring())
    denoiser = Between(FLOW, target, source)
    x_1 = source.sample(Streams.count(0, n))
    truth = target.sample(Streams.count(2, n))
    floor = float(sliced_w2(truth, target.sample(Streams.count(3, n))))
    gaps = {}
    for steps in (1, 48):
        x = run(DDIM(), denoiser, x_1, straight(steps), Streams.count(1, n))
        gaps[steps] = float(sliced_w2(x, truth))
    assert gaps[48] < 2 * floor + 0.03
    assert gaps[1] > 4 * gaps[48]


def test_with_noise_as_the_other_data_it_is_the_plain_denoiser() -> None:
    noise = GaussianPrior(FLOW, torch.zeros(2).double(), torch.ones(2).double())
    t, x = FLOW.level(0.6), normal(9, 2)
    assert torch.allclose(Between(FLOW, ring(), noise)(x, t).mean, ring()(x, t).mean, atol=1e-12)


# --- couplings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 60])
def test_the_assignment_is_the_cheapest(n: int) -> None:
    cost = normal(n, n, seed=n)
    found = assignment(cost)
    assert sorted(found.tolist()) == list(range(n))
    rows, columns = optimize.linear_sum_assignment(cost.numpy())
    best = float(cost[torch.from_numpy(rows), torch.from_numpy(columns)].sum())
    assert float(cost[torch.arange(n), found].sum()) == pytest.approx(best, abs=1e-9)


def test_in_one_dimension_the_optimal_coupling_is_that_of_ranks() -> None:
    x_0, x_1 = normal(40, 1, seed=1), normal(40, 1, seed=2)
    paired = optimal(x_0, x_1)
    assert torch.equal(paired[x_0[:, 0].argsort()], x_1.sort(dim=0).values)
    with pytest.raises(ShapeError, match="partners"):
        optimal(x_0, x_1[:3])


@pytest.mark.parametrize("kind", ["independent", "optimal"])
def test_the_optimal_coupling_leaves_nothing_to_guess_on_the_way(kind: str) -> None:
    """What of the velocity x_t does not tell; with x₁ = 2 x₀ in law it is nearly nothing."""
    x_0, x_1 = 0.5 * normal(256, 1, seed=3), normal(256, 1, seed=4)
    x_1 = optimal(x_0, x_1) if kind == "optimal" else x_1
    x_t, velocity = (x_0 + x_1) / 2, x_1 - x_0
    slope = (x_t * velocity).sum() / x_t.square().sum()
    left = float((velocity - slope * x_t).square().mean() / velocity.square().mean())
    assert left < 0.05 if kind == "optimal" else left > 0.5


@dataclass(frozen=True)
class Numbers:
    """Every item is its own index, scaled."""

    scale: float
    count: int = 50

    def __len__(self) -> int:
        return self.count

    def item(self, index: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"x": torch.tensor([self.scale * index])}


@pytest.mark.parametrize("paired", [True, False])
def test_pairs_belong_together_or_are_drawn(paired: bool) -> None:
    pairs = Pairs(Numbers(1.0), Numbers(10.0), paired=paired)
    generator = torch.Generator().manual_seed(0)
    items = [pairs.item(i, generator) for i in range(50)]
    belong = [float(item["partner"]) == 10 * float(item["x"]) for item in items]
    assert all(belong) if paired else sum(belong) < 10


def test_pairs_of_unequal_length_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="50 and 49"):
        Pairs(Numbers(1.0), Numbers(1.0, 49), paired=True)


class Line(nn.Module):
    """A network that can say any velocity that is linear in x, at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, x: Tensor, noise_level: Tensor) -> Tensor:
        result: Tensor = self.layer(x)
        return result


@dataclass(frozen=True)
class Shifted:
    """Pairs whose second is the first and 2 more."""

    def __len__(self) -> int:
        return 500

    def item(self, index: int, generator: torch.Generator) -> Tensor:
        return torch.tensor([index / 250 - 1.0])


@dataclass(frozen=True)
class Above(Shifted):
    def item(self, index: int, generator: torch.Generator) -> Tensor:
        return torch.tensor([index / 250 + 1.0])


def test_training_on_pairs_finds_the_flow_between_them() -> None:
    network = Line()
    with torch.no_grad():
        for p in network.parameters():
            p.fill_(0.2)
    denoiser = Preconditioned(network, FLOW, "flow")
    config = TrainConfig(
        steps=250, batch=16, lr=0.05, times="uniform", warmup=0, mixed_precision="no"
    )
    list(loop(denoiser, Pairs(Shifted(), Above(), paired=True), config))
    x_1 = torch.tensor([[0.5], [1.5]])
    x = run(DDIM(), denoiser, x_1, straight(4), Streams.count(0, 2))
    assert torch.allclose(x, x_1 - 2, atol=0.1)


# --- stochastic interpolants ----------------------------------------------------------------------


def test_the_velocity_of_an_interpolant_moves_its_variance() -> None:
    """For Gaussian ends the regression is linear, and d Var/dt = 2 E[b x_t]."""
    n, spread = 200_000, 0.8
    x_0, x_1, z = 0.5 * normal(n, 1), 1.0 + 2.0 * normal(n, 1, seed=1), normal(n, 1, seed=2)
    time = 0.3

    def variance(t: float) -> float:
        return 0.25 * (1 - t) ** 2 + 4 * t**2 + spread**2 * t * (1 - t)

    level = FLOW.level(torch.full((n,), time))
    slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    denoiser = Preconditioned(lambda x, _: slope * (x - time) + shift, FLOW, "flow")
    loss = interpolant_loss(denoiser, x_0, x_1, level=level, z=z, spread=spread).mean()
    gradient = torch.autograd.grad(loss, (slope, shift))
    # the loss is quadratic, so that its minimum is known from the gradient at 0
    best = -float(gradient[0]) / 2 / variance(time)
    rate = (variance(time + 1e-4) - variance(time - 1e-4)) / 2e-4
    assert best * variance(time) * 2 == pytest.approx(rate, abs=0.1)
    assert -float(gradient[1]) / 2 == pytest.approx(1.0, abs=0.05)


def test_without_noise_an_interpolant_is_the_loss_of_a_rectified_flow() -> None:
    x_0, x_1, z = normal(6, 2), normal(6, 2, seed=1), normal(6, 2, seed=2)
    denoiser = Preconditioned(lambda x, label: x.sin() + label[:, None], FLOW, "flow")
    level = FLOW.level(torch.linspace(0.1, 0.9, 6))
    found = interpolant_loss(denoiser, x_0, x_1, level=level, z=z, spread=0.0)
    plain = denoising_loss(denoiser, x_0, level=level, noise=x_1).error
    assert torch.allclose(found, plain, atol=1e-12)
    with pytest.raises(InvalidOptionError, match="flow"):
        interpolant_loss(Preconditioned(Line(), FLOW, "v"), x_0, x_1, level=level, z=z)


# --- translation ----------------------------------------------------------------------------------


def one_dimensional(process: Gaussian, weights: list[float], means: list[float]) -> MixturePrior:
    centres = torch.tensor(means, dtype=torch.float64)[:, None]
    return MixturePrior(process, torch.tensor(weights), centres, torch.full_like(centres, 0.05))


def quantiles(prior: MixturePrior, x: Tensor) -> Tensor:
    """The distribution function at ``x``."""
    z = (x - prior.centres[:, 0]) / prior.powers[:, 0].sqrt()
    found: Tensor = (prior.log_weights.exp() * torch.special.ndtr(z)).sum(dim=1)
    return found


def optimal_map(one: MixturePrior, two: MixturePrior, x: Tensor) -> Tensor:
    """Where the quantile of ``x`` in ``one`` lies in ``two``, by bisection."""
    wanted = quantiles(one, x)
    low, high = torch.full_like(wanted, -9.0), torch.full_like(wanted, 9.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = quantiles(two, middle[:, None]) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return high[:, None]


ONE = one_dimensional(Gaussian(VP()), [0.4, 0.6], [-1.0, 0.5])
TWO = one_dimensional(Gaussian(VP()), [0.7, 0.3], [-0.5, 1.2])


def there_and_back(sampler: Sampler, steps: int) -> tuple[float, float]:
    """Root mean square errors of the map, and of the way there and back."""
    x, streams = ONE.sample(Streams.count(0, 200)), Streams.count(1, 200)
    grid = log_snr(ONE.process, steps)
    y = translate(sampler, ONE, TWO, x, grid, streams)
    back = translate(sampler, TWO, ONE, y, grid, streams)
    gaps = (y - optimal_map(ONE, TWO, x), back - x)
    return float(gaps[0].square().mean().sqrt()), float(gaps[1].square().mean().sqrt())


def test_translation_carries_quantiles_to_quantiles_and_back() -> None:
    plain, third = there_and_back(DDIM(), 40), there_and_back(SingleStep(3), 40)
    assert third[0] < 0.002
    assert third[1] < 0.002
    assert plain[0] > 10 * third[0]
    assert plain[1] > 10 * third[1]
    x = ONE.sample(Streams.count(0, 200))
    control = x - optimal_map(ONE, TWO, x)  # what is not translated is not of the other set
    assert float(control.square().mean().sqrt()) > 0.1


@pytest.mark.parametrize(
    "sampler", [DPMSolver(), DPMSolver(3), Exponential(3, corrector=True)], ids=repr
)
def test_a_multistep_sampler_translates_at_its_order(sampler: Sampler) -> None:
    """Control: one that forgot its history on the way up would be off as DDIM is, by 0.075."""
    gaps = there_and_back(sampler, 80)
    assert gaps[0] < 0.002
    assert gaps[1] < 0.002


def test_what_is_translated_into_its_own_set_stays() -> None:
    # the last level is far from data, where the signal has shrunk
    x = ONE.sample(Streams.count(0, 50))
    grid = log_snr(ONE.process, 30, end=0.8)
    assert float(ONE.process.level(grid[-2]).alpha) < 0.85
    y = translate(SingleStep(3), ONE, ONE, x, grid, Streams.count(1, 50))
    assert float((y - x).abs().max()) < 1e-3


def test_encoding_is_undone_by_sampling() -> None:
    process = Gaussian(EDM())
    x = ring().sample(Streams.count(0, 32))
    grid = log_snr(process, 80)
    noise = encode(Heun(), ring(process), x, grid, Streams.count(1, 32))
    assert float((noise / 80).var()) == pytest.approx(1, abs=0.6)
    back = run(Heun(), ring(process), noise, grid[:-1], Streams.count(1, 32))
    assert float((back - x).abs().max()) < 0.02
    with pytest.raises(InvalidOptionError, match="3 or more"):
        encode(Heun(), ring(process), x, grid[-2:], Streams.count(1, 32))
    with pytest.raises(UnsupportedError, match="encoding needs a sampler that adds no noise"):
        encode(Heun(Churn(0.1)), ring(process), x, grid, Streams.count(1, 32))


# --- Poisson flow ---------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [3, 128])
def test_the_noise_of_pfgm_is_that_of_its_beta_construction(degrees: int) -> None:
    n, dims = 1500, 16
    process = Student(EDM(), degrees)
    blank = torch.zeros(n, dims, dtype=torch.float64)
    radius = process.noise(blank, Streams.count(0, n)).square().sum(dim=1)
    beta = stats.beta(dims / 2, degrees / 2)
    # R₁ ~ Beta(N/2, D/2), R² = r² R₁/(1 − R₁) and r = σ √D
    odds = radius / degrees
    assert stats.kstest((odds / (1 + odds)).numpy(), beta.cdf).pvalue > 1e-4
    gaussian = stats.kstest(radius.numpy(), stats.chi2(dims).cdf).pvalue
    assert gaussian < 1e-4 or degrees > 3  # a control: plain noise has another radius


def test_with_many_degrees_it_is_gaussian_noise() -> None:
    process = Student(EDM(), 4096)
    blank = torch.zeros(600, 4, dtype=torch.float64)
    noise = process.noise(blank, Streams.count(0, 600))
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 1e-3
    t, square = process.level(0.5), torch.linspace(0, 9, 5).double()
    ours, plain = (
        kind.log_noise(square * t.sigma**2, t.sigma, 4) for kind in (process, Gaussian(EDM()))
    )
    assert torch.allclose(ours, plain, atol=2e-2)


def test_its_density_is_normalised() -> None:
    process = Student(EDM(), 3)
    r = torch.linspace(0, 2000, 400_001, dtype=torch.float64)
    density = process.log_noise(r**2, torch.tensor(1.3), 2).exp()
    assert float(torch.trapezoid(math.tau * r * density, r)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("degrees", [1, 128])
def test_the_field_of_a_data_set_leads_back_to_it(degrees: int) -> None:
    """Every sampler of ODEs runs on it; with D = 1 it is PFGM."""
    process = Student(EDM(), degrees)
    points = ring().sample(Streams.count(0, 200))
    prior = DataSetPrior(process, points)
    n = 400
    grid = karras(process, 18)
    start = process.start(torch.zeros(n, 2).double(), process.level(grid[0]), Streams.count(1, n))
    x = run(Heun(), prior, start, grid, Streams.count(2, n))
    floor = float(sliced_w2(points[:100], points[100:]))
    assert float(sliced_w2(x, points)) < floor + 0.08


def test_its_denoiser_is_the_mean_over_the_data_given_the_state() -> None:
    process, n = Student(EDM(), 5), 60_000
    points = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    prior = DataSetPrior(process, points)
    t = process.at_ratio(0.8)
    x_0 = points[torch.arange(n) % 3]
    x_t = process.corrupt(x_0, t, process.noise(x_0, Streams.count(0, n)))
    error = x_0 - prior(x_t, t).mean
    wrong = x_0 - DataSetPrior(Gaussian(EDM()), points)(x_t, t).mean
    probe = (x_t.abs() > 3).double()

    def deviation(gap: Tensor) -> float:
        return abs(float((gap * probe).mean() / (gap * probe).std())) * math.sqrt(n)

    assert deviation(error) < 5
    assert deviation(wrong) > 5  # a control: the Gaussian's posterior is another


@pytest.mark.parametrize("kind", ["estimated", "generated"])
def test_a_start_on_the_way_has_its_noise(kind: str) -> None:
    """χ² is one per item, so that ‖ε‖²/n varies over items as F(n, D) does."""
    process, n = Student(EDM(), 5), 4000
    x_0, level = torch.full((n, 8), 2.0).double(), process.at_ratio(3.0)
    start = Estimated(x_0, 3.0) if kind == "estimated" else Generated(lambda _: x_0, 3.0)
    x = start(process, torch.zeros(n, 8).double(), level, Streams.count(0, n))
    share = ((x - x_0) / level.sigma).square().mean(dim=1)
    far = float((share > 4).double().mean())
    # scipy.stats.f(8, 5).sf(4); of normal noise, scipy.stats.chi2(8).sf(32), it is 0.0001
    assert far == pytest.approx(0.0717, abs=5 * math.sqrt(0.0717 / n))


def test_going_back_to_more_noise_is_refused() -> None:
    process = Student(EDM(), 2)
    x = torch.zeros(1, 2)
    with pytest.raises(UnsupportedError, match="independent steps"):
        process.renoise(x, process.level(0.2), process.level(0.4), x)
    with pytest.raises(InvalidOptionError, match="degrees=0"):
        Student(EDM(), 0)


def test_its_noise_is_each_items_own() -> None:
    process = Student(EDM(), 7)
    whole = process.noise(torch.zeros(3, 4), Streams.count(0, 3))
    alone = process.noise(torch.zeros(1, 4), Streams.count(0, 1, first=1))
    assert torch.equal(whole[1:2], alone)
