"""DDPM, score SDEs, conditions and score matching: what the foundations promise."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import (
    ClassifierFree,
    ClassifierGuided,
    Condition,
    Denoiser,
    Estimate,
    GaussianPrior,
    MixturePrior,
    Preconditioned,
)
from sfumato.errors import InvalidOptionError
from sfumato.noise import Streams
from sfumato.processes import (
    EDM,
    VE,
    VP,
    Gaussian,
    Level,
    LinearBeta,
    Schedule,
    SubVP,
    like,
    log_snr,
    uniform,
)
from sfumato.samplers import (
    DDIM,
    DDPM,
    DPMSolver,
    EulerMaruyama,
    PredictorCorrector,
    ReverseDiffusion,
    run,
)
from sfumato.samplers.base import weights
from sfumato.training.losses import denoising_loss


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def ring(process: Gaussian) -> MixturePrior:
    angle = torch.arange(5, dtype=torch.float64) * math.tau / 5
    means = torch.stack([angle.cos(), angle.sin()], dim=1)
    return MixturePrior(process, torch.ones(5), means, torch.full_like(means, 0.15**2))


def white(process: Gaussian, n: int = 1, variance: float = 0.25) -> GaussianPrior:
    mean = torch.zeros(n, dtype=torch.float64)
    return GaussianPrior(process, mean, torch.full_like(mean, variance))


# --- DDPM -----------------------------------------------------------------------------------------


def end_variance(eta: float, large: bool = False) -> float:
    """Of ten steps uniform in t on N(0, ¼), by recursion of the kernel's own coefficients."""
    process, prior = Gaussian(VP()), 0.25
    levels = process.levels(torch.linspace(1, 1e-3, 11, dtype=torch.float64))
    variance = torch.ones((), dtype=torch.float64)
    for t, s in itertools.pairwise(levels):
        keep, carry, noise = weights(t, s, eta)
        if large:
            noise = t.sigma**2 - (t.alpha / s.alpha * s.sigma) ** 2
        gain = t.alpha * prior / (t.alpha**2 * prior + t.sigma**2)
        variance = (keep * gain + carry) ** 2 * variance + noise
    return float(variance)


@pytest.mark.parametrize(("eta", "expected"), [(0.0, 0.1402), (0.5, 0.1349), (1.0, 0.1112)])
def test_ten_steps_lose_the_share_of_the_spread_that_is_known(eta: float, expected: float) -> None:
    assert end_variance(eta) == pytest.approx(expected, abs=2e-3)
    assert end_variance(1.0, large=True) > end_variance(1.0)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_sampler_has_the_variance_of_its_recursion(eta: float) -> None:
    n, process = 40_000, Gaussian(VP())
    grid = torch.linspace(1, 1e-3, 11, dtype=torch.float64)
    sampler = DDPM() if eta else DDIM()
    x = run(sampler, white(process, n), normal(1, n), grid, Streams.count(0, 1))
    exact = end_variance(eta)
    assert float(x.var()) == pytest.approx(exact, abs=5 * exact * math.sqrt(2 / n))


@dataclass(frozen=True, eq=False)
class Between(Denoiser):
    """The ring, with a reverse variance between β̃ and β in log."""

    process: Gaussian
    part: float

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        mean = ring(self.process)(x_t, t).mean
        return Estimate(mean, interpolation=torch.full_like(x_t, self.part))


@pytest.mark.parametrize(("part", "kind"), [(0.0, "small"), (1.0, "large")])
def test_a_learned_variance_lies_between_the_two_fixed_ones(part: float, kind: str) -> None:
    process = Gaussian(VP())
    grid, x = uniform(process, 8), normal(5, 2)
    ends = [
        run(DDPM(variance), Between(process, part), x, grid, Streams.count(0, 5))
        for variance in ("learned", kind)
    ]
    torch.testing.assert_close(*ends, rtol=0, atol=1e-9)


def test_halfway_it_is_their_geometric_mean() -> None:
    process, n = Gaussian(VP()), 40_000
    t, s, x = process.level(0.3), process.level(0.2), torch.zeros(n, 2).double()
    denoise = Between(process, 0.5)
    spread = {
        kind: float(DDPM(kind).step(denoise, x, t, s, Streams.count(0, n), []).var())
        for kind in ("small", "learned", "large")
    }
    middle = math.sqrt(spread["small"] * spread["large"])
    assert spread["learned"] == pytest.approx(middle, rel=5 / math.sqrt(n))
    assert spread["large"] > 1.1 * spread["small"]


def test_ddpm_is_the_first_order_solver_of_the_reverse_sde() -> None:
    """(σ_s/σ_t) e^{−h} = α_t σ_s²/(α_s σ_t²), and σ_s² (1 − e^{−2h}) = β̃."""
    for process in (Gaussian(VP()), Gaussian(EDM())):
        grid, x = log_snr(process, 9), normal(4, 2)
        x = like(process.level(grid[0]).sigma, x) * x
        one = run(DDPM(), ring(process), x, grid, Streams.count(0, 4))
        other = run(DPMSolver(1, eta=1.0), ring(process), x, grid, Streams.count(0, 4))
        assert torch.allclose(one, other, atol=1e-10)


# --- score SDEs -----------------------------------------------------------------------------------


def test_reverse_diffusion_is_euler_maruyama_where_signal_does_not_fade() -> None:
    process = Gaussian(VE(0.01, 50.0))
    grid, x = log_snr(process, 20), 50 * normal(6, 2)
    one = run(ReverseDiffusion(), ring(process), x, grid, Streams.count(0, 6))
    other = run(EulerMaruyama(), ring(process), x, grid, Streams.count(0, 6))
    assert torch.allclose(one, other, atol=1e-9)


def test_reverse_diffusion_has_its_published_step_for_vp() -> None:
    """x_s = (2 − √(1 − β)) x_t + β ∇ ln p + √β z."""
    process, x = Gaussian(LinearBeta(100, 1e-3, 0.2)), normal(3, 2)
    t, s = process.level(0.5), process.level(0.49)
    prior = ring(process)
    beta = 1 - float(t.alpha / s.alpha) ** 2
    score = (t.alpha * prior(x, t).mean - x) / t.sigma**2
    z = Streams.count(0, 3).normal(x)
    expected = (2 - math.sqrt(1 - beta)) * x + beta * score + math.sqrt(beta) * z

    def denoise(x_t: Tensor, level: Level) -> Estimate:
        return prior(x_t, level)

    found = ReverseDiffusion().step(denoise, x, t, s, Streams.count(0, 3), [])
    assert torch.allclose(found, expected, atol=1e-10)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), VE(0.01, 50.0)], ids=repr)
@pytest.mark.parametrize("sampler", [ReverseDiffusion(), EulerMaruyama()], ids=repr)
def test_the_bias_of_a_reverse_sde_falls_with_the_step(
    sampler: ReverseDiffusion, schedule: Schedule
) -> None:
    n, v, process = 60_000, 0.25, Gaussian(schedule)
    gaps = []
    for steps in (25, 100):
        grid = log_snr(process, steps)
        blank, streams = torch.zeros(1, n).double(), Streams.count(0, 1)
        start = process.start(blank, process.level(grid[0]), streams)
        found = run(sampler, white(process, n), start, grid, Streams.count(1, 1)).var()
        gaps.append(abs(float(found) - v))
    assert gaps[1] < gaps[0] / 2.5 + 5 * v * math.sqrt(2 / n)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), VE(0.01, 50.0)], ids=repr)
def test_corrections_mend_a_predictor_of_few_steps(schedule: Schedule) -> None:
    process, n = Gaussian(schedule), 64
    prior = white(process, 256)
    grid = log_snr(process, 25)
    start = process.start(torch.zeros(n, 256).double(), process.level(grid[0]), Streams.count(0, n))
    gaps = []
    for sampler in (ReverseDiffusion(), PredictorCorrector(ReverseDiffusion(), snr=0.1)):
        found = run(sampler, prior, start, grid[:-1], Streams.count(1, n)).var()
        gaps.append(abs(float(found) - 0.25))
    assert gaps[1] < gaps[0]


# --- conditions -----------------------------------------------------------------------------------


class Labelled(Denoiser):
    """The ring, or that of its Gaussians which a label names."""

    def __init__(self, process: Gaussian) -> None:
        self.process = process
        self.all = ring(process)
        self.parts = [
            GaussianPrior(process, m, torch.full_like(m, 0.15**2)) for m in self.all.means
        ]

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        if not condition:
            return self.all(x_t, t)
        every = torch.stack([part(x_t, t).mean for part in self.parts], dim=1)
        return Estimate(every[torch.arange(len(x_t)), condition["label"]])


def log_class(prior: MixturePrior, x_t: Tensor, t: Level, condition: Condition) -> Tensor:
    """The exact classifier of noisy states."""
    assert condition is not None
    logs = prior.seen(x_t, t)[0].log_softmax(dim=1)
    return logs.gather(1, condition["label"][:, None])[:, 0]


PROCESS = Gaussian(EDM())
LABEL: Condition = {"label": torch.arange(30) % 5}


def classifier(scale: float) -> ClassifierGuided:
    prior = ring(PROCESS)
    return ClassifierGuided(prior, lambda x, t, c: log_class(prior, x, t, c), scale)


def test_guidance_by_the_exact_classifier_is_the_conditional_prior() -> None:
    x, t = normal(30, 2), PROCESS.at_ratio(0.6)
    guided = classifier(1.0)(x, t, LABEL).mean
    assert torch.allclose(guided, Labelled(PROCESS)(x, t, LABEL).mean, atol=1e-9)
    free = ring(PROCESS)(x, t).mean
    assert torch.equal(classifier(0.0)(x, t, LABEL).mean, free)
    assert float((guided - free).abs().max()) > 0.1
    with pytest.raises(InvalidOptionError, match="finite"):
        classifier(math.inf)


def test_both_kinds_of_guidance_agree_where_both_are_exact() -> None:
    x, t = normal(30, 2), PROCESS.at_ratio(0.6)
    free = ClassifierFree(Labelled(PROCESS), scale=2.5)(x, t, LABEL).mean
    assert torch.allclose(classifier(2.5)(x, t, LABEL).mean, free, atol=1e-9)


@pytest.mark.parametrize("kind", ["classifier", "classifier-free"])
def test_stronger_guidance_makes_classes_narrower(kind: str) -> None:
    n = 200
    label = torch.zeros(n, dtype=torch.int64)
    grid, streams = log_snr(PROCESS, 25), Streams.count(0, n)
    start = PROCESS.start(torch.zeros(n, 2).double(), PROCESS.level(grid[0]), streams)
    spreads = []
    for scale in (1.0, 2.0, 4.0):
        guided: Denoiser = (
            classifier(scale)
            if kind == "classifier"
            else ClassifierFree(Labelled(PROCESS), scale=scale)
        )
        x = run(DDIM(), guided, start, grid, Streams.count(1, n), condition={"label": label})
        spreads.append(float(x[:, 1].var()))  # across, where the neighbours push
        if scale == 1.0:
            assert float((x.mean(dim=0) - torch.tensor([1.0, 0.0])).abs().max()) < 0.1
    assert spreads[0] > 1.2 * spreads[1] > 1.44 * spreads[2]


# --- denoising score matching ---------------------------------------------------------------------


def test_the_denoising_loss_is_that_of_the_score_but_for_a_constant() -> None:
    """Vincent (2011): E‖F − ∇ ln q(x_t | x₀)‖² − E‖F − ∇ ln p(x_t)‖² does not depend on F."""
    process, n = Gaussian(VP()), 40_000
    prior = ring(process)
    x_0, noise = prior.sample(Streams(0, range(n))), normal(n, 2)
    level = process.level(torch.full((n,), 0.4).double())
    t = process.level(0.4)
    x_t = process.corrupt(x_0, level, noise)
    score = (t.alpha * prior(x_t, t).mean - x_t) / t.sigma**2
    constants = []
    for network in (lambda x, _: -x, lambda x, _: x.sin(), lambda x, _: 0 * x):
        denoiser = Preconditioned(network, process, "score")
        loss = denoising_loss(denoiser, x_0, level=level, noise=noise).error
        explicit = (network(x_t, None) - score).square().mean(dim=1)
        constants.append(loss - explicit)
    for other in constants[1:]:
        gap = other - constants[0]
        assert abs(float(gap.mean())) < 5 * float(gap.std()) / math.sqrt(n)
    assert float(constants[0].mean()) > 0.1


def test_the_score_is_the_gradient_of_the_log_density() -> None:
    process = Gaussian(SubVP())
    prior, t = ring(process), process.level(0.3)
    x = normal(20, 2).requires_grad_()
    (gradient,) = torch.autograd.grad(prior.log_prob(x, t).sum(), x)
    score = (t.alpha * prior(x.detach(), t).mean - x.detach()) / t.sigma**2
    assert torch.allclose(score, gradient, atol=1e-9)


def test_times_uniform_in_t_reach_the_end_of_the_process() -> None:
    grid = uniform(Gaussian(VP()), 10)
    assert float(grid[0]) == 1.0
    assert float(grid[-1]) == 0.0
