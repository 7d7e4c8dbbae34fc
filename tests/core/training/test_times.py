"""Distributions of noise levels."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.processes import VP, Cosine, Flow, Gaussian
from sfumato.training.configs import TrainConfig
from sfumato.training.times import LogNormal, LogUniform, Times, Uniform, positions

PROCESSES = [Gaussian(), Gaussian(VP()), Gaussian(Cosine()), Gaussian(Flow())]


def test_log_normal_has_the_moments_it_is_given() -> None:
    n = 20_000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    t = LogNormal(-1.2, 1.2).quantile(Gaussian(), u)
    log_ratio = Gaussian().level(t).log_ratio
    assert log_ratio.mean().item() == pytest.approx(-1.2, abs=2e-3)
    assert log_ratio.std().item() == pytest.approx(1.2, rel=5e-3)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@pytest.mark.parametrize("times", [LogNormal(), LogUniform(), Uniform()], ids=repr)
def test_times_stay_inside_the_process(process: Gaussian, times: Times) -> None:
    t = times.quantile(process, torch.tensor([0.0, 1e-9, 0.5, 1 - 1e-9]))
    assert t.min() >= process.schedule.t_min
    assert t.max() <= process.schedule.t_max


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@pytest.mark.parametrize("times", [LogNormal(-0.5, 0.7), LogUniform(), Uniform()], ids=repr)
def test_the_density_is_the_derivative_of_the_distribution(process: Gaussian, times: Times) -> None:
    u = torch.linspace(0.2, 0.8, 7, dtype=torch.float64)
    h = 1e-4
    low, high = (process.level(times.quantile(process, u + d)).log_ratio for d in (-h, h))
    density = times.density(process, times.quantile(process, u))
    assert torch.allclose(density, 2 * h / (high - low), rtol=1e-3)


def test_low_discrepancy_covers_every_stratum_in_every_step() -> None:
    config = TrainConfig(low_discrepancy=True)
    for step in range(3):
        u = positions(config, step, range(step * 16, step * 16 + 16), 16)
        assert sorted((u * 16).floor().int().tolist()) == list(range(16))


@pytest.mark.parametrize("spread_evenly", [False, True])
def test_each_position_is_uniform(spread_evenly: bool) -> None:
    config = TrainConfig(low_discrepancy=spread_evenly)
    u = torch.cat([positions(config, step, [step * 4 + 1], 4) for step in range(2000)])
    # Kolmogorov–Smirnov: chance exceeds 2.2/√n one time in 10⁴
    ecdf = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    assert (u.sort().values - ecdf).abs().max().item() < 2.2 / math.sqrt(2000)


@pytest.mark.parametrize("spread_evenly", [False, True])
def test_a_position_does_not_depend_on_the_others_asked_for(spread_evenly: bool) -> None:
    config = TrainConfig(low_discrepancy=spread_evenly)
    whole = positions(config, 2, range(16, 24), 8)
    halves = [positions(config, 2, part, 8) for part in (range(16, 20), range(20, 24))]
    assert torch.equal(whole, torch.cat(halves))
