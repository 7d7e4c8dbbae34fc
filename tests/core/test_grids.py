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
from sfumato.processes.grids import GRIDS

SCHEDULES = [VP(), VE(), EDM(), Flow(), Cosine(), LinearBeta()]
CASES = list(itertools.product(GRIDS, SCHEDULES))


@pytest.mark.parametrize(
    ("name", "schedule"), CASES, ids=lambda v: getattr(v, "__name__", str(v)[:6])
)
@pytest.mark.parametrize("steps", [1, 2, 25])
def test_a_grid_falls_from_the_noisiest_level_to_data(
    name: str, schedule: Schedule, steps: int
) -> None:
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


@pytest.mark.parametrize(
    "options",
    [{"steps": 0}, {"steps": 5, "start": 0.1, "end": 0.2}, {"steps": 5, "end": -math.inf}],
)
def test_grids_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidOptionError):
        log_snr(Gaussian(VP()), **options)  # type: ignore[arg-type]
