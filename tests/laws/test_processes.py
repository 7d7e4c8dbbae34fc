"""Processes keep their laws, and schedules are those of their papers."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import (
    EDM,
    VE,
    VP,
    Cosine,
    Flow,
    Gaussian,
    LinearBeta,
    Schedule,
    SubVP,
    Table,
    combine,
    like,
)
from sfumato.samplers import kernel
from sfumato.testing import check_process

SCHEDULES = [VP(), SubVP(), VE(), EDM(), Flow(), Cosine(), LinearBeta()]


def name(schedule: Schedule) -> str:
    return type(schedule).__name__


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_a_process_keeps_its_laws(schedule: Schedule) -> None:
    check_process(Gaussian(schedule))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_the_closed_inverse_equals_bisection(schedule: Schedule) -> None:
    times = torch.linspace(schedule.t_min, schedule.t_max, 50, dtype=torch.float64)
    ratios = schedule.log_ratio(times)
    searched = Schedule.inverse(schedule, ratios).clamp(min=schedule.t_min)
    torch.testing.assert_close(schedule.time_of(ratios), searched, rtol=0, atol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_time_of_stays_within_the_schedule(schedule: Schedule) -> None:
    times = schedule.time_of(torch.tensor([-math.inf, -50.0, 50.0, math.inf], dtype=torch.float64))
    assert times.min() >= schedule.t_min
    assert times.max() <= 1


@pytest.mark.parametrize("schedule", [VP(), Cosine(), LinearBeta()], ids=name)
def test_variance_preserving_schedules_preserve_variance(schedule: Schedule) -> None:
    times = torch.linspace(0, 1, 40, dtype=torch.float64)
    power = schedule.alpha(times) ** 2 + schedule.sigma(times) ** 2
    torch.testing.assert_close(power, torch.ones_like(power), rtol=0, atol=1e-12)


def test_sub_vp_has_the_square_of_the_vp_variance() -> None:
    times = torch.linspace(0.05, 1, 20, dtype=torch.float64)
    torch.testing.assert_close(SubVP().sigma(times), VP().sigma(times) ** 2)


def test_a_table_meets_its_entries_at_its_steps() -> None:
    table = LinearBeta(100)
    times = torch.arange(1, 101, dtype=torch.float64) / 100
    bars = torch.tensor(table.alphas_cumprod, dtype=torch.float64)
    torch.testing.assert_close(table.alpha(times) ** 2, bars)


def test_uniform_times_of_edm_are_the_grid_of_karras() -> None:
    steps, rho = 7, 7.0
    times = torch.linspace(1, 0, steps, dtype=torch.float64).clamp(min=1e-12)
    low, high = 0.002 ** (1 / rho), 80 ** (1 / rho)
    expected = (high + torch.arange(steps) / (steps - 1) * (low - high)) ** rho
    torch.testing.assert_close(EDM().sigma(times), expected.double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
def test_the_bridge_after_the_corruption_is_the_corruption(schedule: Schedule) -> None:
    # q(x_s | x_0) = ∫ q(x_s | x_t, x_0) q(x_t | x_0) dx_t
    process, n, x_0 = Gaussian(schedule), 40_000, 2.0
    clean = torch.full((1, n), x_0, dtype=torch.float64)
    t, s = process.at_ratio(1.5), process.at_ratio(0.4)
    streams = Streams.count(0, 1)
    x_t = process.corrupt(clean, t, streams.normal(clean))
    x_s = kernel(clean, x_t, t, s, streams)
    sigma = float(s.sigma)
    assert float(x_s.mean()) == pytest.approx(float(s.alpha) * x_0, abs=5 * sigma / math.sqrt(n))
    assert float(x_s.std()) == pytest.approx(sigma, rel=5 / math.sqrt(2 * n))


def test_a_level_knows_the_process_it_belongs_to() -> None:
    process = Gaussian(VP())
    assert process.level(0.3).process is process
    assert process.levels(torch.tensor([1.0, 0.0]))[0].process is process


@pytest.mark.parametrize(
    "make",
    [
        lambda: VE(sigma_min=0.0),
        lambda: EDM(sigma_min=3, sigma_max=2),
        lambda: Table((0.5,)),
        lambda: Table((0.5, 0.6)),
    ],
)
def test_schedules_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(InvalidOptionError):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("kind", ["number", "scalar", "per item", "uneven"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128])
def test_a_combination_is_its_formula_for_every_kind_of_coefficient(
    kind: str, dtype: torch.dtype
) -> None:
    x, y = (Streams.count(seed, 3).normal(torch.zeros(3, 2, 4, dtype=dtype)) for seed in (0, 1))
    a, b = {
        "number": (0.3, -1.2),
        "scalar": (torch.tensor(0.3).double(), torch.tensor(-1.2).double()),
        "per item": (torch.arange(3.0).double(), torch.ones(3).double()),
        "uneven": (torch.rand(3, 1, 4).double(), torch.rand(3, 1, 4).double()),
    }[kind]
    before = x.clone(), y.clone()
    found = combine(a, x, b, y)
    assert found.dtype == dtype
    torch.testing.assert_close(found, like(a, x) * x + like(b, y) * y)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])


def test_the_scales_of_a_level_are_numbers_where_one_does_for_all() -> None:
    process = Gaussian(Flow())
    level = process.level(0.25)
    assert level.scales == (0.75, 0.25)
    several = process.level(torch.tensor([0.25, 0.5])).scales
    assert isinstance(several.alpha, torch.Tensor)
    assert several.alpha.tolist() == [0.75, 0.5]
    # nothing but noise: what divides by α is infinite, as in every other level
    assert math.isinf(float(1 / process.level(1.0).scales.alpha))
