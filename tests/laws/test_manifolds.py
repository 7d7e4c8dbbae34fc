"""Brownian motion on the torus and the sphere, forwards and backwards."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import (
    Condition,
    Denoiser,
    Estimate,
    MixturePrior,
    PointsOnManifold,
    Tangent,
)
from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.noise import Streams
from sfumato.processes import VE, VP, Gaussian, Level, Riemannian, Sphere, Torus, log_snr
from sfumato.processes.manifolds import kernel, quantile
from sfumato.samplers import DDIM, DDPM, Denoise, EulerMaruyama, Geodesic, Heun, Sampler, run
from sfumato.training.losses import denoising_loss

CIRCLE = Riemannian(VE(0.005, 5.0), Torus())
BALL = Riemannian(VE(0.01, 2.5), Sphere())
CENTRES, WEIGHTS, WIDTH = torch.tensor([-2.0, 0.7]).double(), torch.tensor([0.35, 0.65]), 0.25


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def on_sphere(n: int, seed: int = 0) -> Tensor:
    x = normal(n, 3, seed=seed)
    return x / x.norm(dim=1, keepdim=True)


@dataclass(frozen=True, eq=False)
class Wrapped(Denoiser):
    """Angles that are independent draws from two wrapped Gaussians, all in one item."""

    process: Riemannian = CIRCLE

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        images = math.tau * torch.arange(-6, 7, dtype=torch.float64)
        means = (CENTRES[:, None] + images).reshape(-1, 1)
        prior = MixturePrior(
            Gaussian(self.process.schedule), WEIGHTS.repeat_interleave(13), means,
            torch.full_like(means, WIDTH**2),
        )  # fmt: skip
        return Estimate(prior(x_t.reshape(-1, 1), t).mean.reshape(x_t.shape))


def wrapped_cdf(x: Tensor) -> Tensor:
    images = math.tau * torch.arange(-3, 4, dtype=torch.float64)
    centres = CENTRES[:, None] + images
    below = torch.special.ndtr((x[:, None, None] - centres) / WIDTH)
    below = below - torch.special.ndtr((-math.pi - centres) / WIDTH)
    return (WEIGHTS.double()[:, None] * below).sum(dim=(1, 2))


def ks(x: Tensor, cdf: Tensor) -> float:
    """The Kolmogorov–Smirnov statistic, given the distribution function at the sorted ``x``."""
    n = len(x)
    high = torch.arange(1, n + 1, dtype=torch.float64) / n
    return float(torch.maximum((high - cdf).abs(), (high - 1 / n - cdf).abs()).max())


def circle(sampler: Sampler, steps: int, n: int = 8_000) -> float:
    streams = Streams.count(0, 1)
    grid = log_snr(CIRCLE, steps)
    start = CIRCLE.start(torch.zeros(1, n).double(), CIRCLE.level(grid[0]), streams)
    x = run(Geodesic(sampler), Wrapped(), start, grid, streams)[0].sort().values
    assert float(x.abs().max()) <= math.pi
    return ks(x, wrapped_cdf(x))


@pytest.mark.parametrize("sampler", [DDPM(), EulerMaruyama(), DDIM()], ids=repr)
def test_walks_on_the_circle_come_nearer_to_the_data_with_more_steps(sampler: Sampler) -> None:
    gaps = [circle(sampler, steps) for steps in (8, 200)]
    assert gaps[1] < 0.02
    assert gaps[0] > 2.5 * gaps[1]


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0])
def test_heat_on_the_circle_is_a_wrapped_gaussian(sigma: float) -> None:
    x = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None].requires_grad_()
    x_0 = torch.full_like(x, 2.0)
    images = math.tau * torch.arange(-9, 10, dtype=torch.float64)
    exact = (-((x - x_0 + images) ** 2) / (2 * sigma**2)).logsumexp(dim=1)
    (slope,) = torch.autograd.grad(exact.sum(), x)
    found, pull = Torus().heat(x.detach(), x_0.detach(), torch.tensor(sigma).double())
    assert torch.allclose(found, exact.detach(), atol=1e-9)
    assert torch.allclose(pull, sigma**2 * slope, atol=1e-9)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 1.0])
def test_heat_on_the_sphere_solves_the_heat_equation(sigma: float) -> None:
    """∂K/∂τ = ½ Δ K with τ = σ², Δ = (1/sin θ) ∂(sin θ ∂K/∂θ)/∂θ; up to a constant of each σ."""
    theta = torch.linspace(0.2, min(2.5, 4 * sigma + 0.3), 4001, dtype=torch.float64)
    step = float(theta[1] - theta[0])
    logs, slopes = kernel(sigma, theta.cos())
    # the derivative by θ that is returned is that of what is returned
    numeric = (logs[2:] - logs[:-2]) / (2 * step)
    assert torch.allclose(-slopes[1:-1] * theta[1:-1].sin(), numeric, rtol=1e-5, atol=1e-5)
    d = 1e-4 * sigma**2
    later, earlier = (kernel(math.sqrt(sigma**2 + e), theta.cos())[0] for e in (d, -d))
    rate = (later - earlier) / (2 * d)  # of ln K
    flux = -slopes * theta.sin().square()  # sin θ ∂ ln K/∂θ
    laplace = (flux[2:] - flux[:-2]) / (2 * step) / theta[1:-1].sin() + numeric**2
    gap = rate[1:-1] - laplace / 2
    assert float(gap.std()) < 0.02 * float(rate.std()) + 1e-6


@pytest.mark.parametrize("sigma", [0.05, 0.5, 1.5])
def test_points_spread_on_the_sphere_by_their_heat_kernel(sigma: float) -> None:
    n = 4000
    pole = torch.tensor([[0.0, 0.0, 1.0]]).double().expand(n, 3)
    x = Sphere().spread(pole, torch.tensor(sigma).double(), normal(n, 3))
    assert float((x.norm(dim=1) - 1).abs().max()) < 1e-12
    # the mean of cos θ decays as the first eigenvalue says
    cosine = x[:, 2]
    exact = math.exp(-(sigma**2))
    assert float(cosine.mean()) == pytest.approx(exact, abs=5 * float(cosine.std()) / math.sqrt(n))
    azimuth = torch.atan2(x[:, 1], x[:, 0]).sort().values
    assert ks(azimuth, azimuth / math.tau + 0.5) < 2.2 / math.sqrt(n)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 1.5])
def test_angles_spread_on_the_circle_by_their_heat_kernel(sigma: float) -> None:
    n, x_0 = 4000, torch.tensor([[3.0]]).double()
    x = Torus().spread(x_0.expand(n, 1), torch.tensor(sigma).double(), normal(n, 1))
    assert float(x.abs().max()) <= math.pi
    # the first circular moment of a wrapped Gaussian
    cosine, sine = (x - x_0).cos(), (x - x_0).sin()
    error = 5 / math.sqrt(n)
    exact = math.exp(-(sigma**2) / 2)
    assert float(cosine.mean()) == pytest.approx(exact, abs=error * float(cosine.std()))
    assert float(sine.mean()) == pytest.approx(0, abs=error * float(sine.std()))


def test_two_spreads_are_one_of_the_sum_of_the_variances() -> None:
    """Chapman–Kolmogorov; a control: one spread alone is another law."""
    n = 4000
    s, t = BALL.level(0.6), BALL.level(0.8)
    pole = torch.tensor([[0.0, 0.0, 1.0]]).double().expand(n, 3)
    x_s = BALL.corrupt(pole, s, normal(n, 3))
    twice = BALL.renoise(x_s, s, t, normal(n, 3, seed=1))[:, 2]
    exact = math.exp(-(float(t.sigma) ** 2))
    error = 5 * float(twice.std()) / math.sqrt(n)
    assert float(twice.mean()) == pytest.approx(exact, abs=error)
    assert abs(float(x_s[:, 2].mean()) - exact) > error


def test_angles_are_uniform_where_heat_is() -> None:
    u = torch.linspace(0.01, 0.99, 9, dtype=torch.float64)
    assert torch.allclose(quantile(4.0, u).cos(), 1 - 2 * u, atol=1e-3)


@pytest.mark.parametrize("sampler", [DDPM(), DDIM()], ids=repr)
def test_a_walk_on_the_sphere_ends_at_the_data(sampler: Sampler) -> None:
    points = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]).double()
    data = torch.cat([points, points[:1]])  # the first twice as likely
    prior, n = PointsOnManifold(BALL, data), 600
    streams = Streams.count(0, n)
    grid = log_snr(BALL, 40)
    start = BALL.start(torch.zeros(n, 3).double(), BALL.level(grid[0]), streams)
    x = run(Geodesic(sampler), prior, start, grid, streams)
    assert float((x.norm(dim=1) - 1).abs().max()) < 1e-12
    near = x @ points.T
    assert float(near.max(dim=1).values.min()) > 0.99
    share = torch.bincount(near.argmax(dim=1), minlength=3) / n
    expected = torch.tensor([0.5, 0.25, 0.25])
    assert float((share - expected).abs().max()) < 5 * math.sqrt(0.25 / n)


def test_geodesics_keep_their_length() -> None:
    x, v = on_sphere(20), normal(20, 3, seed=1)
    v = Sphere().tangent(x, v)
    y = Sphere().exp(x, v)
    angle = torch.acos((x * y).sum(dim=1).clamp(-1, 1))
    turned = v.norm(dim=1).remainder(math.tau)
    assert torch.allclose(angle, torch.minimum(turned, math.tau - turned), atol=1e-7)


@dataclass(frozen=True)
class Moved(Sampler):
    """A step by a known vector of the space around."""

    by: Tensor

    def step(
        self, denoise: Denoise, x_t: Tensor, t: Level, s: Level, streams: Streams,
        history: list[tuple[Level, Tensor]],
    ) -> Tensor:  # fmt: skip
        return x_t + self.by


def test_a_step_walks_what_of_it_is_tangent() -> None:
    x, v = on_sphere(20), 0.5 * normal(20, 3, seed=1)
    t, s = BALL.level(0.6), BALL.level(0.5)
    ends = [
        Geodesic(Moved(v + push * x)).step(Still(BALL), x, t, s, Streams(0, []), [])
        for push in (0.0, 0.3, -1.0)
    ]
    along = Sphere().tangent(x, v)
    torch.testing.assert_close((x * ends[0]).sum(dim=1), along.norm(dim=1).cos())
    assert float((along * ends[0]).sum(dim=1).min()) > 0
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0])


@pytest.mark.parametrize("process", [CIRCLE, BALL], ids=["circle", "sphere"])
def test_the_target_of_a_network_averages_to_the_score(process: Riemannian) -> None:
    """Vincent's identity: the loss of denoising is that of the score but for a constant."""
    n = 20_000
    wide = 2 if process is CIRCLE else 3
    data = on_sphere(2) if wide == 3 else torch.tensor([[-2.0, 0.3], [0.7, 2.0]]).double()
    x_0 = data[torch.arange(n) % 2]
    level = process.level(torch.full((n,), 0.85).double())
    x_t = process.corrupt(x_0, level, normal(n, wide, seed=2))
    denoiser = Tangent(lambda x, _: torch.zeros_like(x), process)
    target = denoiser.target(x_0, x_t, level)
    t = process.level(0.85)
    score = (PointsOnManifold(process, data)(x_t, t).mean - x_t) / t.sigma**2
    error = (target - score) * (x_t[:, :1].sin() + x_t[:, 1:2].cos())
    z = error.mean(dim=0) / error.std(dim=0) * math.sqrt(n)
    assert float(z.abs().max()) < 5
    few, noise = process.level(level.t[:8]), normal(8, wide)
    assert torch.isfinite(denoising_loss(denoiser, x_0[:8], level=few, noise=noise).error).all()


def test_a_network_predicts_tangent_vectors() -> None:
    x = on_sphere(5)
    denoiser = Tangent(lambda x, _: torch.ones_like(x), BALL)
    t = BALL.level(0.5)
    step = denoiser(x, t).mean - x
    assert float((step * x).sum(dim=1).abs().max()) < 1e-12
    assert float(step.norm(dim=1).min()) > 0


def test_what_has_no_meaning_on_a_manifold_is_refused() -> None:
    with pytest.raises(InvalidOptionError, match="α = 1"):
        Riemannian(VP())
    with pytest.raises(UnsupportedError, match="one evaluation"):
        Geodesic(Heun())
    with pytest.raises(InvalidOptionError, match="score"):
        Tangent(lambda x, _: x, BALL, prediction="eps")
    flat = Gaussian(VE())
    x = torch.zeros(1, 2)
    with pytest.raises(UnsupportedError, match="flat"):
        run(Geodesic(), Still(flat), x, log_snr(flat, 2), Streams.count(0, 1))


@dataclass(frozen=True, eq=False)
class Still(Denoiser):
    process: Gaussian

    def __call__(self, x_t: Tensor, t: Level, condition: Condition = None) -> Estimate:
        return Estimate(x_t)
