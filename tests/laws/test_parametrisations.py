"""Every parametrisation is a row of one table, and all say the same about x₀."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import PARAMETRISATIONS, GaussianPrior, Preconditioned, coefficients
from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato.noise import Streams
from sfumato.processes import EDM, VE, VP, Flow, Gaussian, LinearBeta, Schedule

SCHEDULES = [VP(), VE(), Flow(), LinearBeta()]
EXPECTED = {
    "x0": lambda x_0, *_: x_0,
    "eps": lambda _, eps, *__: eps,
    "v": lambda x_0, eps, a, s: a * eps - s * x_0,
    "score": lambda _, eps, __, s: -eps / s,
    "flow": lambda x_0, eps, *_: eps - x_0,
}


def name(schedule: Schedule) -> str:
    return type(schedule).__name__


def pair(n: int = 5) -> tuple[Tensor, Tensor]:
    streams = Streams.count(0, n)
    blank = torch.zeros(n, 2, 3, dtype=torch.float64)
    return streams.normal(blank), streams.normal(blank)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
@pytest.mark.parametrize("prediction", EXPECTED)
def test_the_target_is_what_the_paper_says(prediction: str, schedule: Schedule) -> None:
    process = Gaussian(schedule)
    t = process.level(0.4)
    x_0, eps = pair()
    x_t = process.corrupt(x_0, t, eps)
    denoiser = Preconditioned(lambda x, _: x, process, prediction)
    expected = EXPECTED[prediction](x_0, eps, t.alpha, t.sigma)
    torch.testing.assert_close(denoiser.target(x_0, x_t, t), expected)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=name)
@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_a_network_that_meets_its_target_returns_the_data(
    prediction: str, schedule: Schedule
) -> None:
    process = Gaussian(schedule)
    t = process.level(0.4)
    x_0, eps = pair()
    x_t = process.corrupt(x_0, t, eps)
    target = Preconditioned(lambda x, _: x, process, prediction).target(x_0, x_t, t)
    denoiser = Preconditioned(lambda *_: target, process, prediction)
    torch.testing.assert_close(denoiser(x_t, t).mean, x_0)


@pytest.mark.parametrize("prediction", PARAMETRISATIONS)
def test_one_network_is_one_denoiser_under_every_process(prediction: str) -> None:
    inner = Preconditioned(
        lambda x, label: torch.tanh(x + label.reshape(-1, 1, 1)), Gaussian(VP()), prediction
    )
    x_0, eps = pair()
    t = inner.process.level(0.4)
    expected = inner(inner.process.corrupt(x_0, t, eps), t).mean
    for schedule in (VE(), EDM(), Flow()):
        process = Gaussian(schedule)
        level = process.at_ratio(t.ratio)
        x_t = process.corrupt(x_0, level, eps)
        torch.testing.assert_close(inner.under(process)(x_t, level).mean, expected)


def test_the_edm_row_has_inputs_and_targets_of_unit_variance() -> None:
    spread, n = 0.5, 100_000
    process = Gaussian(VP())
    streams = Streams.count(0, 1)
    blank = torch.zeros(1, n, dtype=torch.float64)
    x_0, eps = spread * streams.normal(blank), streams.normal(blank)
    for time in (0.05, 0.3, 0.9):
        t = process.level(time)
        x_t = process.corrupt(x_0, t, eps)
        c = coefficients("edm", t, spread)
        target = Preconditioned(lambda x, _: x, process, "edm", spread).target(x_0, x_t, t)
        five = 5 * (2 / n) ** 0.5
        assert float((c.scale * x_t).var()) == pytest.approx(1, abs=five)
        assert float(target.var()) == pytest.approx(1, abs=five)


def test_one_level_per_item_equals_one_call_per_item() -> None:
    process = Gaussian(VP())
    denoiser = Preconditioned(lambda x, label: x * label.reshape(-1, 1, 1), process, "v")
    x, _ = pair(3)
    times = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    together = denoiser(x, process.level(times)).mean
    for i, time in enumerate(times):
        alone = denoiser(x[i : i + 1], process.level(time)).mean
        torch.testing.assert_close(alone[0], together[i])


def test_the_variance_head_is_in_units_of_the_output() -> None:
    process = Gaussian(VP())
    t = process.level(0.5)

    def network(x: Tensor, label: Tensor) -> Tensor:
        return torch.cat([x, torch.zeros_like(x)], dim=1)

    denoiser = Preconditioned(network, process, "edm", head="variance")
    estimate = denoiser(pair()[0], t)
    assert estimate.variance is not None
    expected = (coefficients("edm", t).out ** 2).expand_as(estimate.variance)
    torch.testing.assert_close(estimate.variance, expected)


def test_the_estimate_stays_in_the_range_of_the_data() -> None:
    denoiser = Preconditioned(lambda x, _: 9 * x, Gaussian(VP()), "x0", range=(-1.0, 1.0))
    mean = denoiser(pair()[0], denoiser.process.level(0.5)).mean
    assert float(mean.abs().max()) == 1


def test_the_network_runs_in_its_own_precision() -> None:
    network = torch.nn.Linear(3, 3)
    seen: list[torch.dtype] = []

    class Wrapped(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network

        def forward(self, x: Tensor, label: Tensor) -> Tensor:
            seen.extend([x.dtype, label.dtype])
            return self.inner(x)

    denoiser = Preconditioned(Wrapped(), Gaussian(VP()), "eps")
    mean = denoiser(pair()[0], denoiser.process.level(0.5)).mean
    assert seen == [torch.float32, torch.float32]
    assert mean.dtype == torch.float64


def test_unknown_rows_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'eps'"):
        Preconditioned(lambda x, _: x, Gaussian(VP()), "epss")
    with pytest.raises(UnknownNameError):
        Preconditioned(lambda x, _: x, Gaussian(VP()), noise_label="tme")
    with pytest.raises(InvalidOptionError):
        Preconditioned(lambda x, _: x, Gaussian(VP()), head="std")


def test_the_rescaled_exact_denoiser_is_the_exact_denoiser_of_the_other_process() -> None:
    mean = torch.tensor([0.3, -1.0], dtype=torch.float64)
    covariance = torch.tensor([[1.0, 0.4], [0.4, 0.5]], dtype=torch.float64)
    x = Streams.count(0, 4).normal(torch.zeros(4, 2, dtype=torch.float64))
    for first, second in itertools.permutations([VP(), EDM(), Flow()], 2):
        inner = GaussianPrior(Gaussian(first), mean, covariance)
        outer = GaussianPrior(Gaussian(second), mean, covariance)
        level = outer.process.at_ratio(0.7)
        found = inner.under(outer.process)(x, level).mean
        torch.testing.assert_close(found, outer(x, level).mean, rtol=1e-6, atol=1e-8)
