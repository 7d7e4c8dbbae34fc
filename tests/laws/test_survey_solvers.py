"""The solvers of the survey: identities, exactness on polynomials, orders, and their mutants."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser, Estimate, GaussianPrior, MixturePrior
from sfumato.noise import Streams
from sfumato.processes import EDM, VP, Flow, Gaussian, Level, log_snr
from sfumato.samplers import (
    DDIM,
    DDPM,
    PNDM,
    DPMSolver,
    Euler,
    Exponential,
    Heun,
    Sampler,
    SingleStep,
    make,
    run,
)
from sfumato.samplers.exponentials import Form, Node

POINTS = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]


def bimodal(process: Gaussian) -> MixturePrior:
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    return MixturePrior(process, torch.tensor([0.4, 0.6]), means, torch.full_like(means, 0.25))


def end(sampler: Sampler, process: Gaussian, grid: Tensor, x: Tensor = POINTS) -> Tensor:
    return run(sampler, bimodal(process), x, grid, Streams.count(0, len(x)))


def smooth(process: Gaussian, steps: int) -> Tensor:
    """A grid without its last step, with steps that shrink and grow."""
    place = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    ratios = math.log(20.0) + place * math.log(0.05 / 20.0) + 0.3 * torch.sin(math.pi * place)
    return process.schedule.time_of(ratios)


# identities


@pytest.mark.parametrize("prediction", ["x0", "eps"])
def test_first_order_is_ddim_whatever_is_predicted(prediction: str) -> None:
    process = Gaussian(VP())
    grid = log_snr(process, 12)
    found = end(Exponential(1, prediction), process, grid)
    torch.testing.assert_close(found, end(DDIM(), process, grid), rtol=0, atol=1e-12)


def test_euler_on_the_flow_is_ddim_and_alpha_blending() -> None:
    process = Gaussian(Flow())
    grid = log_snr(process, 12)
    x, denoiser = POINTS, bimodal(process)
    for t, s in zip(process.levels(grid), process.levels(grid)[1:], strict=False):
        x_hat = denoiser(x, t).mean
        x = x + (s.t - t.t) * (x - x_hat) / t.t  # the velocity ε − x₀ = (x_t − x̂)/t
    for sampler in (Euler(), DDIM()):
        torch.testing.assert_close(end(sampler, process, grid), x, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "sampler", [DDIM(), DPMSolver(3), Exponential(3, "eps", "ratio"), SingleStep(3), Heun()],
    ids=repr,
)  # fmt: skip
def test_a_trajectory_does_not_depend_on_the_schedule(sampler: Sampler) -> None:
    ratios = torch.linspace(math.log(20.0), math.log(0.05), 12, dtype=torch.float64)
    ends = []
    for process in (Gaussian(VP()), Gaussian(Flow())):
        grid = process.schedule.time_of(ratios)
        first, last = process.level(grid[0]), process.level(grid[-1])
        ends.append(end(sampler, process, grid, POINTS * first.sigma) / last.alpha)
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_dpm_solver_is_the_exponential_solver_in_x0(order: int, eta: float) -> None:
    process = Gaussian(VP())
    grid = smooth(process, 9)
    pair = [end(s, process, grid) for s in (DPMSolver(order, eta), Exponential(order, eta=eta))]
    torch.testing.assert_close(*pair, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prediction", ["x0", "eps"])
def test_ancestral_sampling_is_the_first_order_exponential_sde_solver(prediction: str) -> None:
    # in x̂ exactly (kernel with η = 1); in ε̂ (SEEDS-1) with the same variance and another mean
    process = Gaussian(VP())
    t, s = process.level(0.6), process.level(0.5)
    h = t.log_ratio - s.log_ratio
    beta = s.sigma**2 * (1 - (t.alpha * s.sigma / (s.alpha * t.sigma)) ** 2)
    torch.testing.assert_close(s.sigma**2 * -torch.expm1(-2 * h), beta, rtol=1e-10, atol=0)
    if prediction == "x0":
        pair = [end(k, process, log_snr(process, 9)) for k in (DDPM(), Exponential(1, eta=1.0))]
        torch.testing.assert_close(*pair, rtol=0, atol=1e-10)
    else:
        seeds = Form("eps", eta=1.0).base(torch.zeros(4000, 1), t, s, Streams.count(0, 4000))
        expected = s.sigma**2 * torch.expm1(2 * h)
        assert float(seeds.var()) == pytest.approx(float(expected), rel=5 * math.sqrt(2 / 4000))


# exactness: what inverted ratios of steps break


@dataclass(frozen=True, eq=False)
class Polynomial(Denoiser):
    """x̂ or ε̂ that depends on the level alone: a polynomial in a coordinate."""

    process: Gaussian
    form: Form
    degree: int

    def value(self, level: Level) -> Tensor:
        place = self.form.coordinates(level, level.log_ratio, 0.0)
        return sum(((k + 1) * place**k for k in range(self.degree + 1)), torch.zeros(()).double())

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        value = self.value(t).expand_as(x_t)
        if self.form.prediction == "eps":
            value = (x_t - t.sigma * value) / t.alpha
        return Estimate(value)


def integral(estimates: Polynomial, t: Level, s: Level) -> Tensor:
    """α_s or −σ_s times ∫ K f du, by the midpoint rule on many intervals."""
    form, count = estimates.form, 20_000
    h = t.log_ratio - s.log_ratio
    u = (torch.arange(count, dtype=torch.float64) + 0.5) / count * h
    places = form.coordinates(t, t.log_ratio - u, 0.0)
    f = sum(((k + 1) * places**k for k in range(estimates.degree + 1)), torch.zeros(()).double())
    k = 1 + form.eta**2
    rate = -k * (h - u) if form.prediction == "x0" else h - u
    scale = s.alpha if form.prediction == "x0" else -s.sigma
    return scale * (k * rate.exp() * f).sum() * h / count


def one_step(
    sampler: Exponential, degree: int, *, corrected: bool = False
) -> tuple[Tensor, Tensor]:
    """A step's integral on a polynomial with uneven history, and the true one."""
    process, form = Gaussian(VP()), sampler.form
    estimates = Polynomial(process, form, degree)
    ratios = torch.tensor([1.5, 1.0, 0.6, 0.5, -0.3])[-sampler.order - 1 :]
    levels = process.levels(process.schedule.time_of(ratios))
    t, s = levels[-2:]
    nodes = [Node(level, estimates.value(level), i - len(levels) + 2.0)
             for i, level in enumerate(levels if corrected else levels[:-1])]  # fmt: skip
    found = form.finish(torch.zeros((), dtype=torch.float64), t, s, nodes)
    return found, integral(estimates, t, s)


SETTINGS = [
    ("x0", "log-snr", 0.0), ("x0", "log-snr", 1.0), ("eps", "log-snr", 0.0),
    ("eps", "log-snr", 1.0), ("eps", "time", 0.0), ("eps", "ratio", 0.0),
]  # fmt: skip


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_a_step_integrates_polynomials_in_its_coordinate_exactly(
    order: int, setting: tuple[str, str, float]
) -> None:
    prediction, coordinate, eta = setting
    sampler = Exponential(order, prediction, coordinate, eta=eta)
    torch.testing.assert_close(*one_step(sampler, order - 1), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("prediction", ["x0", "eps"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_a_corrector_is_exact_for_one_degree_more(order: int, prediction: str) -> None:
    sampler = Exponential(order, prediction, corrector=True)
    torch.testing.assert_close(*one_step(sampler, order, corrected=True), rtol=1e-7, atol=1e-7)
    found, expected = one_step(sampler, order)
    assert abs(float(found - expected)) > 1e-3  # without the new node it is not


def test_the_weights_of_equal_steps_are_those_of_adams_and_bashforth() -> None:
    process = Gaussian(VP())
    levels = process.levels(process.schedule.time_of(torch.tensor([0.9, 0.7, 0.4, 0.1, -0.2])))
    nodes = [Node(level, torch.ones(()), i - 3.0) for i, level in enumerate(levels[:-1])]
    w = torch.stack(Form("eps", "index").weights(levels[3], levels[4], nodes))
    bashforth = torch.tensor([-9, 37, -59, 55], dtype=torch.float64) / 24
    torch.testing.assert_close(w / w.sum(), bashforth, rtol=1e-12, atol=1e-12)


# orders

ORDERS: list[tuple[Sampler, float]] = [
    (make("ddim"), 0.9),
    (make("heun"), 1.85),
    (make("dpm-solver-2s"), 1.8),
    (make("dpm-solver-2s++"), 1.8),
    (make("dpm-solver-3s"), 2.6),
    (SingleStep(3, "x0"), 2.6),
    (SingleStep(3, rule="exact"), 2.6),
    (make("dpm-solver"), 1.75),
    (Exponential(2, "eps"), 1.75),
    (make("dpm-solver-eps"), 1.75),
    (make("deis-log-rho"), 2.5),
    (make("deis-2"), 2.5),
    (make("deis"), 3.4),
    (make("deis-rho"), 2.5),
    (make("unipc"), 2.4),
    (make("unipc-bh1"), 2.4),
    (Exponential(3, corrector=True), 3.5),
    (Exponential(3, "eps", corrector=True), 3.5),
    (make("pndm"), 1.85),
    (make("s-pndm"), 1.85),
    (make("ipndm"), 1.85),
]


@functools.cache
def reference() -> Tensor:
    process = Gaussian(VP())
    return end(SingleStep(3, rule="exact"), process, smooth(process, 600))


def slope(sampler: Sampler, grid: Any = smooth) -> float:
    """Measured order between 40 and 80 steps."""
    process = Gaussian(VP())
    gaps = [(end(sampler, process, grid(process, n)) - reference()).abs().max() for n in (40, 80)]
    return math.log2(float(gaps[0] / gaps[1]))


@pytest.mark.parametrize(("sampler", "least"), ORDERS, ids=lambda v: str(v)[:60])
def test_the_error_falls_with_the_order(sampler: Sampler, least: float) -> None:
    assert slope(sampler) > least


RISING: list[tuple[Sampler, float]] = [
    (DDIM(), 0.9),
    (SingleStep(3), 2.6),
    (DPMSolver(2), 1.75),
    (DPMSolver(3), 2.3),
    (Exponential(2, "eps"), 1.75),
    (Exponential(3, "eps", "time"), 2.5),
    (Exponential(3, "eps", "ratio"), 2.5),
    (Exponential(2, corrector=True, rule="bh2"), 2.4),
    (Exponential(3, corrector=True), 3.2),
    (PNDM(), 1.85),
    (Exponential(4, "eps", "index"), 1.85),
]


@pytest.mark.parametrize(("sampler", "least"), RISING, ids=lambda v: str(v)[:60])
def test_solvers_keep_their_order_on_the_way_up_to_noise(sampler: Sampler, least: float) -> None:
    process = Gaussian(VP())
    exact = end(SingleStep(3, rule="exact"), process, smooth(process, 400).flip(0))
    gaps = [
        (end(sampler, process, smooth(process, n).flip(0)) - exact).abs().max() for n in (40, 80)
    ]
    assert math.log2(float(gaps[0] / gaps[1])) > least


class Unit(Streams):
    """Noise as an axis: the k-th draw adds its spread to the k-th coordinate of the state.

    A linear sampler then carries the coefficients of all its noises, and its variance is a sum of
    squares, without any chance.
    """

    def __init__(self) -> None:
        super().__init__(0, [0])
        self.drawn = 0

    def perturb_(self, x: Tensor, spread: float | Tensor) -> Tensor:
        self.drawn += 1
        x[:, self.drawn] += torch.as_tensor(spread, dtype=x.dtype).reshape(-1)[0]
        return x


def variance(sampler: Sampler, process: Gaussian, grid: Tensor, v: float = 0.25) -> float:
    """Exact variance of the samples of N(0, v)."""
    count = sampler.evaluations * len(grid) + 1
    zero = torch.zeros(count, dtype=torch.float64)
    prior = GaussianPrior(process, zero, torch.full_like(zero, v))
    x = torch.zeros(1, count, dtype=torch.float64)
    t = process.level(grid[0])
    x[0, 0] = (t.alpha**2 * v + t.sigma**2).sqrt()
    return float(run(sampler, prior, x, grid, Unit()).square().sum())


@pytest.mark.parametrize(
    ("sampler", "low", "high"),
    [
        (make("euler-maruyama"), 0.9, 1.1),
        (Exponential(1, eta=1.0), 0.9, 1.1),
        (make("seeds"), 0.6, 1.1),  # its bias changes sign near 60 steps
        (make("sde-dpm-solver"), 1.9, 2.1),
        (make("seeds-2m"), 1.9, 2.1),
        (Exponential(1, corrector=True, eta=1.0), 1.9, 2.1),
        (make("sa-solver"), 2.1, 3.1),
        (SingleStep(2, eta=1.0), 1.85, 2.4),
        (SingleStep(3, eta=1.0), 1.85, 2.4),
        (SingleStep(3, rule="exact", eta=1.0), 1.85, 2.4),
        (make("seeds-2"), 1.85, 2.4),
        (make("seeds-3"), 1.85, 2.4),
    ],
    ids=str,
)
def test_the_weak_order_of_an_sde_solver(sampler: Sampler, low: float, high: float) -> None:
    process = Gaussian(VP())
    level = process.level(smooth(process, 1)[-1])
    truth = float(level.alpha**2 * 0.25 + level.sigma**2)
    gaps = [abs(variance(sampler, process, smooth(process, n)) - truth) for n in (160, 320)]
    assert low < math.log2(gaps[0] / gaps[1]) < high


@dataclass(frozen=True, eq=False)
class Silent(Denoiser):
    """ε̂ = 0 everywhere; keeps the states that it was asked about."""

    process: Gaussian
    seen: list[Tensor]

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        self.seen.append(x_t.clone() / t.alpha)
        return Estimate(x_t / t.alpha)


@pytest.mark.parametrize("order", [2, 3])
def test_the_stages_of_seeds_lie_on_one_path_of_the_noise(order: int) -> None:
    # without a drift, y = x/α is Brownian motion in R = (σ/α)²: cov(y_i, y_j) = R_t − max(R_i, R_j)
    process, seen = Gaussian(VP()), []
    t, s = process.level(0.6), process.level(0.5)
    x = torch.zeros(1, 8, dtype=torch.float64)
    sampler = SingleStep(order, eta=1.0)
    x_s = sampler.step(Silent(process, seen), x, t, s, Unit(), [])
    path = torch.cat([*seen[1:], x_s / s.alpha])
    shares = torch.tensor([k / order for k in range(1, order + 1)], dtype=torch.float64)
    R = (2 * (t.log_ratio + shares * (s.log_ratio - t.log_ratio))).exp()
    expected = t.ratio**2 - torch.maximum(R[:, None], R)
    torch.testing.assert_close(path @ path.T, expected, rtol=1e-9, atol=1e-12)


class Given(Streams):
    """Noise that is known."""

    def __init__(self, z: Tensor) -> None:
        super().__init__(0, list(range(z.shape[1])))
        self.z = iter(z)

    def perturb_(self, x: Tensor, spread: float | Tensor) -> Tensor:
        return x.add_(torch.as_tensor(spread) * next(self.z))


def seeds(order: int, prediction: str, denoiser: Denoiser, z: Tensor) -> Tensor:
    """A step from t = 0.6 to 0.4 as published (Gonzalez et al., 2023), term by term."""
    process = denoiser.process
    t, s = process.level(0.6), process.level(0.4)
    h = t.log_ratio - s.log_ratio
    inner = [process.at_ratio((t.log_ratio - k / order * h).exp()) for k in range(1, order)]
    nodes, e, r = [*inner, s], prediction == "eps", h / order

    def f(x: Tensor, level: Level) -> Tensor:
        x_hat = denoiser(x, level).mean
        return (x - level.alpha * x_hat) / level.sigma if e else x_hat

    def linear(k: int) -> tuple[Tensor, Tensor, Tensor]:
        """The exact factor of x_t, that of a constant f, and that of a slope f/(k r)."""
        n, u = nodes[k - 1], k * r
        if e:
            grown = torch.expm1(u)
            return n.alpha / t.alpha, -2 * n.sigma * grown, -2 * n.sigma * (grown / u - 1)
        lost = -torch.expm1(-2 * u)
        return n.sigma / t.sigma * (-u).exp(), n.alpha * lost, n.alpha * (1 - lost / (2 * u))

    def noise(k: int) -> Tensor:
        """What z_1 … z_k have become at node k."""
        part = torch.expm1(2 * r).sqrt() if e else (-torch.expm1(-2 * r)).sqrt()
        carry = r.exp() if e else (-r).exp()
        return nodes[k - 1].sigma * part * sum(carry ** (k - 1 - i) * z[i] for i in range(k))

    x, f_0 = POINTS, f(POINTS, t)
    c, b, _ = linear(1)
    f_1 = f(c * x + b * f_0 + noise(1), nodes[0])
    if order == 2:
        c, b, _ = linear(2)
        return c * x + b * f_1 + noise(2)
    c, b, d = linear(2)
    f_2 = f(c * x + b * f_0 + 2 * d * (f_1 - f_0) + noise(2), nodes[1])
    c, b, d = linear(3)
    return c * x + b * f_0 + 1.5 * d * (f_2 - f_0) + noise(3)


@pytest.mark.parametrize("prediction", ["x0", "eps"])
@pytest.mark.parametrize("order", [2, 3])
def test_seeds_has_its_published_step(order: int, prediction: str) -> None:
    denoiser = bimodal(Gaussian(VP()))
    z = Streams.count(3, order).normal(torch.zeros(order, *POINTS.shape, dtype=torch.float64))
    t, s = denoiser.process.level(0.6), denoiser.process.level(0.4)
    preset = prediction == "x0"
    sampler = make(f"seeds-{order}") if preset else SingleStep(order, prediction, eta=1.0)
    found = sampler.step(lambda x, level: denoiser(x, level), POINTS, t, s, Given(z), [])
    torch.testing.assert_close(found, seeds(order, prediction, denoiser, z), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("eta", "expected"), [(1.0, 0.1112), (0.5, 0.1349), (0.0, 0.1402)])
def test_the_spread_that_ten_steps_leave(eta: float, expected: float) -> None:
    # uniform in t from 1 to 0.001 under VP(0.1, 20); cf. the closed form of Bao et al. (2022)
    process = Gaussian(VP())
    grid = torch.linspace(1.0, 1e-3, 11, dtype=torch.float64)
    assert variance(DDIM(eta=eta), process, grid) == pytest.approx(expected, rel=2e-3)


# mutants: what each law is there to catch


@dataclass(frozen=True)
class Mutant(DPMSolver):
    """2M with a defect in the slope."""

    defect: str = "none"

    def step(
        self, denoise: Any, x_t: Tensor, t: Level, s: Level, streams: Streams, history: Any
    ) -> Tensor:
        value = denoise(x_t, t).mean
        history.append((t, value))
        h = t.log_ratio - s.log_ratio
        weight = torch.zeros((), dtype=torch.float64)
        slope = torch.zeros_like(value)
        if len(history) > 1 and self.defect != "forgot":
            before, past = history[-2]
            r = (before.log_ratio - t.log_ratio) / h
            r = 1 / r if self.defect == "inverted" else r
            weight = (-torch.expm1(-h)) / (2 * r) * (-1 if self.defect == "sign" else 1)
            slope = value - past
        inner = -torch.expm1(-h) * value + weight * slope
        return s.sigma / t.sigma * x_t + s.alpha * inner


def gap_of_one_step(defect: str) -> float:
    """Error of one step of 2M on a line in λ, relative to the size of its second-order term."""
    process = Gaussian(EDM())
    estimates = Polynomial(process, Form(), 1)
    small = 0.02  # the step is short, so that B(h)/2 is I₁ up to O(h)
    ratios = torch.tensor([2 * small, 0.0, -small], dtype=torch.float64)
    before, t, s = process.levels(process.schedule.time_of(ratios))
    x = torch.zeros(1, 1, dtype=torch.float64)
    history = [(before, estimates.value(before).reshape(1, 1))]
    found = Mutant(defect=defect).step(
        lambda x, t: estimates(x, t), x, t, s, Streams.count(0, 1), history
    )
    return abs(float(found - integral(estimates, t, s))) / small**2


def test_the_local_law_kills_every_mutant() -> None:
    assert gap_of_one_step("none") < 0.05
    for defect in ("sign", "forgot", "inverted"):
        assert gap_of_one_step(defect) > 0.5


def test_the_global_order_kills_two_mutants_and_not_an_inverted_ratio() -> None:
    # the defect of an inverted ratio telescopes; this is why the local law is needed
    assert slope(Mutant(defect="none")) > 1.75
    assert slope(Mutant(defect="sign")) < 1.3
    assert slope(Mutant(defect="forgot")) < 1.3
    assert slope(Mutant(defect="inverted")) > 1.6


@dataclass(frozen=True)
class Scattered(SingleStep):
    """SEEDS-2 whose end has a noise that its stage knows nothing of."""

    def step(
        self, denoise: Any, x_t: Tensor, t: Level, s: Level, streams: Streams, history: Any
    ) -> Tensor:
        form, middle = self.form, t.process.at_ratio((t.ratio * s.ratio).sqrt())
        found = [Node(t, form.value(denoise(x_t, t), x_t, t), 0.0)]
        x = form.finish(form.base(x_t, t, middle, streams), t, middle, found)
        found.append(Node(middle, form.value(denoise(x, middle), x, middle), 0.5))
        return form.finish(form.base(x_t, t, s, streams), t, s, found)


def test_a_noise_of_its_own_for_every_stage_is_of_first_order() -> None:
    process = Gaussian(VP())
    level = process.level(smooth(process, 1)[-1])
    truth = float(level.alpha**2 * 0.25 + level.sigma**2)
    gaps = {
        kind: [abs(variance(kind(2, eta=1.0), process, smooth(process, n)) - truth)
               for n in (160, 320)]
        for kind in (SingleStep, Scattered)
    }  # fmt: skip
    assert math.log2(gaps[Scattered][0] / gaps[Scattered][1]) < 1.2
    assert gaps[SingleStep][1] < gaps[Scattered][1] / 30


def test_the_weights_of_the_index_need_a_smooth_grid() -> None:
    def zigzag(process: Gaussian, steps: int) -> Tensor:
        grid = smooth(process, steps)
        grid[1::2] += 0.5 * (grid[0:-1:2] - grid[1::2])
        return grid

    assert slope(Exponential(4, "eps", "index"), zigzag) < 1.6
    assert slope(Exponential(3, "eps"), zigzag) > 2.4


def test_a_corrected_trajectory_that_jumps_back_forgets_its_history() -> None:
    prior = bimodal(Gaussian(VP()))
    a, b, c = (prior.process.level(t) for t in (0.5, 0.4, 0.3))
    sampler, history = Exponential(2, corrector=True), []
    streams = Streams.count(0, 9)
    first = sampler.step(prior, POINTS, a, b, streams, history)
    sampler.step(prior, first, b, c, streams, history)
    again = sampler.step(prior, POINTS, a, b, streams, history)
    torch.testing.assert_close(again, first, rtol=0, atol=1e-12)
