"""A head trained on squares finds much of what the exact variance of every state is worth."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from ring import ring
from torch import Tensor, nn

from sfumato.denoisers import AnalyticVariance, Denoiser, SquareHead, square_loss
from sfumato.noise import Streams
from sfumato.processes import VP, Gaussian
from sfumato.samplers.variances import kernel_kl, widened_variance

PROCESS = Gaussian(VP())
SPREAD = 0.5 + 0.15**2
"""Variance of each element of the ring."""
LEVELS = PROCESS.levels(torch.linspace(1, math.sqrt(2e-3), 10, dtype=torch.float64) ** 2)


class Head(nn.Module):
    """Three hidden layers; squares are positive."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(7, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(),
            nn.Linear(64, 2),
        )  # fmt: skip

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        phases = label[:, None] * torch.tensor([1.0, 2.0])
        told = torch.cat([label[:, None], phases.sin(), phases.cos()], dim=1)
        return nn.functional.softplus(self.layers(torch.cat([x.float(), told.float()], dim=1)))


def trained(kind: str, steps: int) -> SquareHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = Head()
        model = SquareHead(ring(PROCESS), head, kind, bound=SPREAD)
        optimiser = torch.optim.Adam(head.parameters(), 3e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
        data = ring(PROCESS).sample(Streams.count(1, 6000))
        for _ in range(steps):
            x_0 = data[torch.randint(0, len(data), (256,))]
            level = PROCESS.level((0.04 + 0.96 * torch.rand(256).double()) ** 2)
            loss = square_loss(model, x_0, level=level, noise=torch.randn_like(x_0)).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return model


def cost(model: Denoiser) -> float:
    """Bound of the steps of a chain, the last two left out, in nats."""
    n, total = 4000, 0.0
    streams = Streams.count(7, n)
    x_0 = ring(PROCESS).sample(streams)
    for t, s in itertools.pairwise(LEVELS[:-1]):
        x_t = PROCESS.corrupt(x_0, t, streams.normal(x_0))
        with torch.no_grad():
            estimate = model(x_t, t)
        assert estimate.variance is not None
        variance = widened_variance(t, s, estimate.variance.double(), x_0)
        total += float(kernel_kl(t, s, (x_0 - estimate.mean).square(), variance).mean()) * 2
    return total


@pytest.mark.slow
def test_a_head_on_residuals_closes_half_of_the_gap_between_one_variance_and_the_exact() -> None:
    streams = Streams.count(3, 6000)
    data = ring(PROCESS).sample(streams)
    scalar = cost(AnalyticVariance.measured(ring(PROCESS), data, streams, levels=30))
    exact = cost(ring(PROCESS))
    found = cost(trained("npr", 3000))
    assert exact < scalar - 0.05
    assert found < scalar - 0.5 * (scalar - exact)


def test_an_exact_head_in_its_unit_gives_the_exact_variance() -> None:
    t = PROCESS.level(0.8)
    x_t = PROCESS.corrupt(
        ring(PROCESS).sample(Streams.count(7, 50)),
        t,
        Streams.count(8, 50).normal(torch.zeros(50, 2)),
    )
    exact = ring(PROCESS)(x_t, t).variance
    assert exact is not None
    share = SPREAD / (SPREAD + t.ratio**2)

    def head(x: Tensor, label: Tensor) -> Tensor:
        return exact / t.ratio**2 / share

    model = SquareHead(ring(PROCESS), head, bound=SPREAD)
    torch.testing.assert_close(model(x_t, t).variance, exact.clamp(max=SPREAD))
    # the same squares without a unit: another loss, by the square of the unit
    plain = SquareHead(ring(PROCESS), lambda *_: exact / t.ratio**2)
    noise = Streams.count(9, 50).normal(x_t)
    in_unit, absolute = (square_loss(m, x_t, level=t, noise=noise) for m in (model, plain))
    torch.testing.assert_close(in_unit, absolute / share**2)


@pytest.mark.parametrize("kind", ["sn", "npr"])
def test_the_loss_of_a_head_is_least_at_the_mean_of_its_squares(kind: str) -> None:
    n, t = 40_000, PROCESS.level(0.25)
    x_0 = ring(PROCESS).sample(Streams.count(7, n))
    noise = Streams.count(8, n).normal(x_0)
    x_t = PROCESS.corrupt(x_0, t, noise)
    estimate = ring(PROCESS)(x_t, t)
    assert estimate.variance is not None
    best = estimate.variance / t.ratio**2
    if kind == "sn":
        best = best + ((x_t - t.alpha * estimate.mean) / t.sigma).square()
    losses = [
        square_loss(
            SquareHead(ring(PROCESS), lambda *_, f=factor: f * best, kind), x_0, level=t,
            noise=noise,
        )
        for factor in (0.95, 1.0, 1.05)
    ]  # fmt: skip
    # a parabola: both sides are higher by the same, up to chance
    rises = [float((losses[i] - losses[1]).mean()) for i in (0, 2)]
    expected = float((0.05 * best).square().mean())
    assert rises == pytest.approx([expected, expected], rel=0.5)


@pytest.mark.slow
def test_a_head_on_squares_learns_their_conditional_mean() -> None:
    model, level = trained("sn", 1500), PROCESS.level(0.3)
    streams = Streams.count(7, 4000)
    x_0 = ring(PROCESS).sample(streams)
    x_t = PROCESS.corrupt(x_0, level, streams.normal(x_0))
    estimate = ring(PROCESS)(x_t, level)
    assert estimate.variance is not None
    eps = (x_t - level.alpha * estimate.mean) / level.sigma
    exact = estimate.variance / level.ratio**2 + eps**2
    with torch.no_grad():
        found = model.squares(x_t, level)
    assert float((found - exact).square().mean()) < 0.1 * float(exact.var())
