"""The momentum sampler: what it is where noise or signal stand still, and its weak order."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import Condition, Denoiser, Estimate, GaussianPrior
from sfumato.noise import Streams
from sfumato.processes import (
    EDM,
    VP,
    Blur,
    Cosine,
    Gaussian,
    Heat,
    Level,
    Spectral,
    Steady,
    karras,
    log_snr,
    uniform,
)
from sfumato.samplers import Cold, EulerMaruyama, Momentum, Sampler, make, run

SIDE = 8
BLUR = Spectral(Cosine(), Blur((SIDE, SIDE)))


def powers() -> Tensor:
    """A field whose spectrum falls off as that of pictures does; variance ¼ in the mean."""
    n = torch.arange(SIDE, dtype=torch.float64) * math.pi / SIDE
    found = 1 / (0.01 + n[:, None] ** 2 + n**2)
    return (0.25 * found / found.mean())[None]


class Impulses(Streams):
    """Item k has the k-th noise alone; squares summed over items are exact variances."""

    def __init__(self, count: int) -> None:
        super().__init__(0, list(range(count)))
        self.drawn = 0

    def perturb_(self, x: Tensor, spread: float | Tensor) -> Tensor:
        self.drawn += 1
        x[self.drawn] += torch.as_tensor(spread, dtype=x.dtype).reshape(-1)[0]
        return x


def excess(sampler: Sampler, process: Gaussian, prior: Tensor, steps: int) -> float:
    """KL in nats of what a linear sampler makes of independent coefficients."""
    grid = uniform(process, steps)[:-1]
    first, last = process.level(grid[0]), process.level(grid[-1])
    x = torch.zeros(steps + 1, *prior.shape, dtype=torch.float64)
    x[0] = (first.alpha**2 * prior + first.sigma**2).sqrt()
    model = GaussianPrior(process, torch.zeros_like(prior), prior)
    found = run(sampler, model, x, grid, Impulses(steps + 1)).square().sum(0)
    ratio = found / (last.alpha**2 * prior + last.sigma**2)
    return float((ratio - 1 - ratio.log()).sum() / 2)


@dataclass(frozen=True)
class Naive(Sampler):
    """C_s x̂ + σ_s z."""

    def step(
        self, denoise: Callable[..., Estimate], x_t: Tensor, t: Level, s: Level,
        streams: Streams, history: list[tuple[Level, Tensor]],
    ) -> Tensor:  # fmt: skip
        return streams.perturb_(denoise(x_t, t).mean * s.alpha, s.sigma)


@pytest.mark.parametrize("process", [BLUR, Gaussian(VP())], ids=["blur", "VP"])
def test_more_steps_come_nearer_and_those_of_the_naive_sampler_do_not(process: Gaussian) -> None:
    few, more, many = (excess(Momentum(), process, powers(), n) for n in (25, 100, 400))
    assert few > 4 * more > 16 * many
    assert many < 0.5
    assert excess(Naive(), process, powers(), 400) > 50 * many


def test_without_attenuation_it_is_euler_and_maruyama() -> None:
    process = Gaussian(EDM())
    prior = GaussianPrior(process, torch.zeros(4).double(), torch.linspace(0.1, 1, 4).double())
    x = 80 * Streams.count(0, 3).normal(torch.zeros(3, 4, dtype=torch.float64))
    grid = karras(process, 12)
    ours, theirs = (
        run(sampler, prior, x, grid, Streams.count(1, 3))
        for sampler in (make("momentum"), EulerMaruyama())
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_with_a_noise_that_stays_the_same_it_is_cold_diffusion() -> None:
    process = Spectral(Steady(), Heat((SIDE, SIDE)))
    prior = GaussianPrior(process, torch.zeros_like(powers()), powers())
    grid = torch.linspace(1, 0, 12, dtype=torch.float64)
    x = prior.sample(Streams.count(0, 2))
    x = process.corrupt(x, process.level(1.0), Streams.count(1, 2).normal(x))
    ours = run(Momentum(), prior, x, grid, Streams.count(2, 2))
    cold = run(Cold(), prior, x, grid, Streams.count(3, 2))
    torch.testing.assert_close(ours, cold, rtol=0, atol=1e-12)


# a corruption that no basis diagonalises

COVARIANCE = torch.tensor([[1.0, 0.3], [0.3, 0.2]], dtype=torch.float64)


def matrix(level: Level) -> Tensor:
    """C_t: a shear that grows, and a fading second element."""
    share = float(level.ratio / (1 + level.ratio))
    return torch.tensor([[1.0, 1.5 * share], [0.0, 1 - 0.9 * share]], dtype=torch.float64)


def sheared(x: Tensor, level: Level) -> Tensor:
    return x @ matrix(level).T


@dataclass(frozen=True, eq=False)
class Posterior(Denoiser):
    """E[x₀ | C x₀ + σ ε] for a Gaussian x₀."""

    process: Gaussian = field(default_factory=lambda: Gaussian(EDM()))

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        C = matrix(t)
        gain = COVARIANCE @ C.T @ torch.linalg.inv(covariance(t))
        return Estimate(x_t @ gain.T)


def covariance(t: Level) -> Tensor:
    C = matrix(t)
    return C @ COVARIANCE @ C.T + t.sigma**2 * torch.eye(2, dtype=torch.float64)


class Axes(Streams):
    """Every noise has a pair of items to itself, one for each element."""

    def __init__(self, draws: int) -> None:
        super().__init__(0, list(range(2 * draws)))
        self.drawn = 0

    def perturb_(self, x: Tensor, spread: float | Tensor) -> Tensor:
        self.drawn += 1
        x[2 * self.drawn : 2 * self.drawn + 2] += torch.as_tensor(spread) * torch.eye(2).double()
        return x


def gap(sampler: Sampler, steps: int) -> float:
    """How far the exact covariance of the samples is from that of the process."""
    denoiser = Posterior()
    grid = log_snr(denoiser.process, steps, start=20.0, end=0.1)[:-1]
    x = torch.zeros(2 * (steps + 1), 2, dtype=torch.float64)
    x[:2] = torch.linalg.cholesky(covariance(denoiser.process.level(grid[0]))).T
    x = run(sampler, denoiser, x, grid, Axes(steps + 1))
    return float((x.T @ x - covariance(denoiser.process.level(grid[-1]))).abs().max())


def test_it_inverts_any_linear_corruption_with_weak_order_one() -> None:
    coarse, fine = (gap(Momentum(sheared), steps) for steps in (200, 400))
    assert 0.85 < math.log2(coarse / fine) < 1.2
    assert gap(Momentum(), 400) > 20 * fine  # a control: the corruption forgotten
