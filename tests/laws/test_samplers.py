"""Samplers converge at their order, draw the right law, and treat every item alone."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser, Estimate, GaussianPrior, MixturePrior
from sfumato.errors import InvalidOptionError, NotFiniteError, UnsupportedError
from sfumato.evaluation.distances import sliced_w2
from sfumato.noise import Streams
from sfumato.processes import EDM, VP, Flow, Gaussian, Level, log_snr
from sfumato.samplers import (
    DDIM,
    DDPM,
    PNDM,
    PRESETS,
    SAMPLERS,
    Adaptive,
    Churn,
    DPMSolver,
    Euler,
    EulerMaruyama,
    Exponential,
    Heun,
    PredictorCorrector,
    Restart,
    Sampler,
    SingleStep,
    Step,
    run,
)
from sfumato.testing import check_sampler


def first_of_each_kind() -> list[str]:
    flat = [name for name in SAMPLERS if "manifold" not in PRESETS[name].needs]
    names = {PRESETS[name].part: name for name in reversed(flat)}
    return sorted(names.values())


ALL = [
    *(SAMPLERS[name]() for name in first_of_each_kind()),
    DDIM(eta=1.0),
    DDPM("large"),
    DDPM("calibrated"),
    DPMSolver(1),
    DPMSolver(3),
    DPMSolver(2, eta=1.0),
    DPMSolver(3, eta=1.0),
    DPMSolver(3, rule="published"),
    Exponential(4, "eps", "time"),
    Exponential(3, corrector=True, rule="bh1"),
    Exponential(2, corrector=True, eta=0.7),
    Exponential(1, "eps", eta=1.0),
    SingleStep(3, "x0"),
    Euler(Churn(0.2)),
    Heun(Churn(0.2)),
    PredictorCorrector(DDIM(), corrections=2),
]
DETERMINISTIC = [
    (Euler(), 1.0),
    (DDIM(), 1.0),
    (DPMSolver(1), 1.0),
    (EulerMaruyama(eta=0.0), 1.0),
    (Heun(), 2.0),
    (DPMSolver(2), 2.0),
    (DPMSolver(2, rule="published"), 2.0),
    (DPMSolver(3, rule="published"), 2.0),
    (DPMSolver(3), 3.0),
]


@pytest.mark.parametrize("sampler", ALL, ids=repr)
@pytest.mark.parametrize("schedule", [EDM(), Flow()], ids=lambda s: type(s).__name__)
def test_a_sampler_keeps_its_laws(sampler: Sampler, schedule: EDM) -> None:
    check_sampler(sampler, process=Gaussian(schedule), steps=100, bias=0.06)


def bimodal(process: Gaussian) -> MixturePrior:
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    return MixturePrior(process, torch.tensor([0.4, 0.6]), means, torch.full_like(means, 0.25))


def uneven(process: Gaussian, steps: int) -> Tensor:
    """A grid without its last step, with steps that shrink and grow."""
    place = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    ratios = math.log(20.0) + place * math.log(0.05 / 20.0) + 0.3 * torch.sin(math.pi * place)
    return process.schedule.time_of(ratios)


@functools.cache
def reference() -> Tensor:
    prior = bimodal(Gaussian(VP()))
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    return run(DPMSolver(3), prior, x, uneven(prior.process, 1500), Streams.count(0, 9))


@pytest.mark.parametrize(("sampler", "order"), DETERMINISTIC, ids=lambda v: str(v)[:40])
def test_the_error_falls_with_the_order_of_the_sampler(sampler: Sampler, order: float) -> None:
    prior = bimodal(Gaussian(VP()))
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    streams = Streams.count(0, 9)

    def end(kind: Sampler, steps: int) -> Tensor:
        return run(kind, prior, x, uneven(prior.process, steps), streams)

    errors = [float((end(sampler, steps) - reference()).abs().max()) for steps in (40, 80)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.3)


def correlated(process: Gaussian) -> GaussianPrior:
    place = torch.arange(4, dtype=torch.float64)
    return GaussianPrior(process, place / 2, 0.3 * 0.8 ** (place[:, None] - place).abs())


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("schedule", [VP(), EDM(), Flow()], ids=lambda s: type(s).__name__)
def test_calibrated_ancestral_sampling_is_exact_at_any_number_of_steps(
    steps: int, schedule: VP
) -> None:
    n, prior = 4_000, correlated(Gaussian(schedule))
    grid = log_snr(prior.process, steps)
    streams = Streams.count(0, n)
    x_0 = prior.sample(streams)
    x = prior.process.corrupt(x_0, prior.process.level(grid[0]), streams.normal(x_0))
    x = run(DDPM("calibrated"), prior, x, grid, streams)
    error = (x.mean(0) - prior.mean) / prior.covariance.diagonal().sqrt()
    assert float(error.abs().max()) < 5 / math.sqrt(n)
    gap = (torch.cov(x.T) - prior.covariance).abs().max()
    assert float(gap) < 5 * 0.3 * math.sqrt(2 / n)


def test_ancestral_sampling_with_the_mean_loses_spread() -> None:
    prior = correlated(Gaussian(VP()))
    streams = Streams.count(0, 5_000)
    grid = log_snr(prior.process, 10)
    x = prior.process.start(torch.zeros(5_000, 4).double(), prior.process.level(grid[0]), streams)
    spread = run(DDPM(), prior, x, grid, streams).var(0) / prior.covariance.diagonal()
    assert float(spread.max()) < 0.8


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_the_bias_of_euler_maruyama_falls_with_the_step(eta: float) -> None:
    n, v = 100_000, 0.25
    mean = torch.zeros(n, dtype=torch.float64)
    prior = GaussianPrior(Gaussian(EDM()), mean, torch.full_like(mean, v))
    gaps = []
    for steps in (20, 80):
        grid = log_snr(prior.process, steps)
        streams = Streams.count(0, 1)
        x = prior.process.start(mean[None], prior.process.level(grid[0]), streams)
        gaps.append(abs(float(run(EulerMaruyama(eta), prior, x, grid, streams).var()) - v))
    noise = 5 * v * math.sqrt(2 / n)
    assert gaps[1] < gaps[0] / 2.5 + noise


@pytest.mark.parametrize(
    "sampler",
    [DDPM("calibrated"), Heun(), DPMSolver(3), DPMSolver(2, eta=1.0), Heun(Churn(0.3))],
    ids=repr,
)
def test_a_mixture_is_sampled_with_its_weights(sampler: Sampler) -> None:
    n, prior = 1_000, bimodal(Gaussian(VP()))
    streams = Streams.count(0, n)
    grid = log_snr(prior.process, 40)
    x = prior.process.start(torch.zeros(n, 1).double(), prior.process.level(grid[0]), streams)
    x = run(sampler, prior, x, grid, streams)
    assert float((x > 0).double().mean()) == pytest.approx(
        float((prior.sample(Streams.count(1, n)) > 0).double().mean()), abs=5 * math.sqrt(0.5 / n)
    )
    assert float(sliced_w2(x, prior.sample(Streams.count(1, n)))) < 0.2


@pytest.mark.parametrize("sampler", [s for s in ALL if s.calls(4) is not None], ids=repr)
def test_the_network_is_called_as_often_as_the_sampler_says(sampler: Sampler) -> None:
    prior, calls = correlated(Gaussian(VP())), 0

    @dataclass(frozen=True, eq=False)
    class Counted(Denoiser):
        process: Gaussian

        def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
            nonlocal calls
            calls += 1
            return prior(x_t, t)

    grid = log_snr(prior.process, 5)[:-1]
    x = torch.ones(2, 4, dtype=torch.float64)
    run(sampler, Counted(prior.process), x, grid, Streams.count(0, 2))
    assert calls == sampler.calls(4)


def test_a_callback_sees_every_state_and_the_last_is_the_result() -> None:
    prior, steps = correlated(Gaussian(VP())), []
    grid = log_snr(prior.process, 6)
    x = torch.ones(2, 4, dtype=torch.float64)
    end = run(Heun(), prior, x, grid, Streams.count(0, 2), callback=steps.append)
    assert [step.index for step in steps] == list(range(6))
    assert all(isinstance(step, Step) and step.count == 6 for step in steps)
    assert torch.equal(steps[-1].x, end)
    assert steps[-1].level.clean


def test_the_condition_reaches_the_denoiser() -> None:
    seen: list[Condition] = []

    @dataclass(frozen=True, eq=False)
    class Listening(Denoiser):
        process: Gaussian

        def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
            seen.append(condition)
            return Estimate(x_t)

    process = Gaussian(VP())
    run(
        DDIM(),
        Listening(process),
        torch.ones(1, 1),
        log_snr(process, 3),
        Streams.count(0, 1),
        condition={"label": 3},
    )
    assert seen == [{"label": 3}] * 3


def test_samples_that_are_not_finite_are_refused() -> None:
    prior = correlated(Gaussian(VP()))
    with pytest.raises(NotFiniteError):
        run(
            DDIM(),
            prior,
            torch.full((1, 4), math.nan),
            log_snr(prior.process, 3),
            Streams.count(0, 1),
        )


def test_variances_that_the_denoiser_does_not_know_are_refused() -> None:
    @dataclass(frozen=True, eq=False)
    class MeanOnly(Denoiser):
        process: Gaussian

        def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
            return Estimate(x_t)

    process = Gaussian(VP())
    for variance in ("calibrated", "learned"):
        with pytest.raises(UnsupportedError, match="variance='small'"):
            run(
                DDPM(variance),
                MeanOnly(process),
                torch.ones(1, 1),
                log_snr(process, 3),
                Streams.count(0, 1),
            )


@pytest.mark.parametrize(
    "make",
    [
        lambda: DDIM(eta=2.0),
        lambda: DDPM("medium"),
        lambda: DPMSolver(4),
        lambda: DPMSolver(2, eta=-1),
        lambda: DPMSolver(2, rule="guess"),
        lambda: Churn(0.5),
        lambda: Churn(0.1, low=2, high=1),
        lambda: EulerMaruyama(eta=math.inf),
        lambda: PredictorCorrector(snr=0.0),
        lambda: PredictorCorrector(corrections=0),
        lambda: Exponential(5),
        lambda: Exponential(2, prediction="v"),
        lambda: Exponential(2, coordinate="steps"),
        lambda: Exponential(2, rule="bh3"),
        lambda: Exponential(2, eta=1.5),
        lambda: SingleStep(4),
        lambda: SingleStep(3, inner=(0.6, 0.3)),
        lambda: PNDM(3),
        lambda: Adaptive(relative=0.0),
        lambda: Restart(low=0.3, high=0.1),
    ],
)
def test_options_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(InvalidOptionError):
        make()  # type: ignore[operator]
