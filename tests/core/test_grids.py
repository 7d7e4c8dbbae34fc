"""Grids start at the noisiest level, fall, and end in data."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from sfumato.errors import InvalidOptionError
from sfumato.processes import (
    EDM,
    VE,
    VP,
    Cosine,
    Flow,
    Gaussian,
    LinearBeta,
    Schedule,
    karras,
    log_snr,
    uniform,
)
from sfumato.processes.grids import GRIDS, fibonacci, relaid

SCHEDULES = [VP(), VE(), EDM(), Flow(), Cosine(), LinearBeta()]
CASES = list(itertools.product(GRIDS, SCHEDULES))
MOST = {"fibonacci": 18}  # its variances have made noise of anything by then


@pytest.mark.parametrize(
    ("name", "schedule"), CASES, ids=lambda v: getattr(v, "__name__", str(v)[:6])
)
@pytest.mark.parametrize("steps", [1, 2, 25])
def test_a_grid_falls_from_the_noisiest_level_to_data(
    name: str, schedule: Schedule, steps: int
) -> None:
    steps = min(steps, MOST.get(name, steps))
    grid = GRIDS[name](Gaussian(schedule), steps)
    assert grid.shape == (steps + 1,)
    assert grid.dtype == torch.float64
    assert grid[0] == schedule.t_max
    assert grid[-1] == 0
    assert (grid.diff() < 0).all()


def test_the_default_grid_is_uniform_in_log_snr() -> None:
    process = Gaussian(VP())
    ratios = process.schedule.log_ratio(log_snr(process, 12)[:-1])
    torch.testing.assert_close(ratios.diff(), ratios.diff()[:1].expand(11), rtol=1e-6, atol=0)


def test_karras_times_are_uniform_in_a_power_of_the_ratio() -> None:
    process = Gaussian(Flow())
    ratios = process.schedule.log_ratio(karras(process, 12, rho=5.0)[:-1]).exp() ** (1 / 5)
    torch.testing.assert_close(ratios.diff(), ratios.diff()[:1].expand(11), rtol=1e-6, atol=0)


def test_uniform_times_are_uniform() -> None:
    grid = uniform(Gaussian(VP()), 9)[:-1]
    torch.testing.assert_close(grid.diff(), grid.diff()[:1].expand(8))


@pytest.mark.parametrize("name", GRIDS)
def test_a_grid_can_start_and_end_where_it_is_told(name: str) -> None:
    process = Gaussian(EDM())
    grid = GRIDS[name](process, 10, start=2.0, end=0.05)
    ratios = process.schedule.log_ratio(grid[:-1]).exp()
    assert float(ratios[0]) == pytest.approx(2.0, rel=1e-6)
    assert float(ratios[-1]) == pytest.approx(0.05, rel=1e-6)


def step_variances(process: Gaussian, grid: torch.Tensor) -> torch.Tensor:
    """η_1, η_2, … with ᾱ_k = Π_{j ≤ k} (1 − η_j), from the lowest level."""
    ratios = process.schedule.log_ratio(grid[:-1].flip(0)).exp()
    kept = 1 / (1 + ratios**2)
    return 1 - kept / torch.cat([torch.ones(1).double(), kept[:-1]])


@pytest.mark.parametrize("schedule", [VP(), EDM(), Flow()], ids=repr)
def test_the_variances_of_fibonacci_steps_are_sums_of_the_two_before(schedule: Schedule) -> None:
    process = Gaussian(schedule)
    eta = step_variances(process, GRIDS["fibonacci"](process, 10, start=20.0, end=0.05))
    torch.testing.assert_close(eta[2:], eta[1:-1] + eta[:-2], rtol=1e-6, atol=0)
    assert eta[0] <= eta[1]
    other = step_variances(process, GRIDS["var-quadratic"](process, 10, start=20.0, end=0.05))
    assert (other[2:] / (other[1:-1] + other[:-2]) - 1).abs().max() > 0.1  # a control


def test_more_fibonacci_steps_than_there_is_noise_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="use fewer steps"):
        GRIDS["fibonacci"](Gaussian(VP()), 40)


def test_the_second_fibonacci_variance_is_not_below_the_first() -> None:
    process = Gaussian(VP())
    first = 0.1**2 / (1 + 0.1**2)
    grid = fibonacci(process, 2, start=0.15, end=0.1)
    kept = 1 / (1 + process.level(grid[0]).ratio ** 2)
    assert float(1 - kept / (1 - first)) > first
    with pytest.raises(InvalidOptionError, match="growing variances"):
        fibonacci(process, 2, start=0.12, end=0.1)


@pytest.mark.parametrize("name", ["var-linear", "fibonacci"])
def test_a_relaid_grid_starts_where_it_is_seen_and_keeps_its_proportions(name: str) -> None:
    process = Gaussian(VP())
    plan = GRIDS[name](process, 10, start=20.0, end=0.05)
    planned = step_variances(process, plan)
    at, seen = 3, torch.tensor([0.5, 1.0, 1.9]).double() * process.level(plan[3]).ratio
    ratios = [seen]
    for k in range(at, 9):  # each step from where the one before has led
        ratios.append(relaid(process, plan, plan[k], ratios[-1]))
    kept = 1 / (1 + torch.stack(ratios[::-1]) ** 2)
    eta = 1 - kept / torch.cat([torch.ones(1, 3).double(), kept[:-1]])
    factor = eta / planned[:7, None]
    torch.testing.assert_close(factor, factor[:1].expand(7, 3), rtol=1e-6, atol=0)
    assert float(factor[0, 1]) == pytest.approx(1, rel=1e-6)
    with pytest.raises(InvalidOptionError, match="plan has not"):
        relaid(process, plan, torch.tensor(0.123).double(), seen)


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"steps": 5, "start": 0.1, "end": 0.2}, {"steps": 5, "end": -math.inf}],
)
def test_grids_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError):
        log_snr(Gaussian(VP()), **options)  # type: ignore[arg-type]
