"""What sets the noise levels: learned schedules, and levels that are looked up in the state."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sfumato.denoisers import GaussianPrior, MixturePrior
from sfumato.errors import InvalidOptionError, ShapeError, UnsupportedError
from sfumato.likelihood import Budget, gaussian_bound
from sfumato.likelihood.gaussian import diffusion_term
from sfumato.networks import LevelNet, level_loss
from sfumato.noise import Streams
from sfumato.processes import (
    EDM,
    VP,
    Cosine,
    Flow,
    Gaussian,
    Learned,
    Level,
    Monotone,
    Schedule,
    log_snr,
)
from sfumato.processes.grids import GRIDS, relaid
from sfumato.samplers import DDIM, DDPM, Heun, Relevelled, Sampler, run
from sfumato.testing import check_process
from sfumato.training.noise_schedules import learn_schedule


def ring(process: Gaussian) -> MixturePrior:
    angle = torch.arange(5, dtype=torch.float64) * math.tau / 5
    means = torch.stack([angle.cos(), angle.sin()], dim=1)
    return MixturePrior(process, torch.ones(5), means, torch.full_like(means, 0.15**2))


def bent(seed: int) -> Monotone:
    """A schedule of some shape; all have the same ends."""
    network = Monotone(-4.0, 2.5)
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        network.line.fill_(-2.0)
        network.heights.add_(10 * torch.rand(network.heights.shape, generator=g) ** 3)
    return network


def terms(process: Gaussian, n: int = 6000) -> Tensor:
    prior = ring(process)
    x = prior.sample(Streams.count(0, n))
    g = torch.Generator().manual_seed(1)
    t = 1e-3 + torch.rand(n, dtype=torch.float64, generator=g) * (1 - 1e-3)
    noise = torch.randn(n, 2, dtype=torch.float64, generator=g)
    with torch.no_grad():
        return diffusion_term(prior, x, t, noise)


def test_a_learned_schedule_is_a_schedule() -> None:
    check_process(Gaussian(Learned(bent(0))))
    low, high = Learned(bent(0)).log_ratio(torch.tensor([1e-3, 1.0])).tolist()
    assert (low, high) == pytest.approx((-4.0, 2.5))
    with pytest.raises(InvalidOptionError, match="low < high"):
        Monotone(1.0, 0.0)


def test_the_bound_depends_on_the_ends_of_the_schedule_alone() -> None:
    found = [terms(Gaussian(Learned(bent(seed)))) for seed in range(3)]
    error = [float(row.std()) / math.sqrt(len(row)) for row in found]
    for a, b in itertools.combinations(range(3), 2):
        gap = float(found[a].mean() - found[b].mean())
        assert abs(gap) < 4 * math.hypot(error[a], error[b])
    other = terms(Gaussian(Learned(Monotone(-2.0, 2.5))))  # a control: another end, another bound
    assert abs(float(other.mean() - found[0].mean())) > 1


def test_learning_the_schedule_lowers_the_variance_and_keeps_the_mean() -> None:
    process = Gaussian(Learned(bent(2)))
    before = terms(process)
    prior = ring(process)
    learn_schedule(prior, prior.sample(Streams.count(5, 256)), steps=100)
    after = terms(process)
    error = math.hypot(float(before.std()), float(after.std())) / math.sqrt(len(after))
    assert abs(float(after.mean() - before.mean())) < 4 * error
    assert float(after.var()) < 0.7 * float(before.var())
    ends = process.schedule.log_ratio(torch.tensor([1e-3, 1.0])).tolist()
    assert ends == pytest.approx([-4.0, 2.5])


def test_the_bound_under_a_learned_schedule_is_minus_ln_p() -> None:
    prior = ring(Gaussian(Learned(bent(1))))
    x = prior.sample(Streams.count(0, 32))
    found = gaussian_bound(
        prior, x, Streams.count(1, 32), by_time=True, budget=Budget(draws=256, batch=8192)
    )
    t = prior.process.level(1e-3)
    exact = -prior.log_prob(t.alpha * x, t) - 2 * t.alpha.log()
    # noise is left in the prior, and is 0.018/0.15 of the data's width in the decoder
    gap = float((found.nats - exact).mean())
    assert abs(gap) < 5 * float(found.error.square().sum().sqrt()) / 32 + 0.05


def test_only_a_learned_schedule_can_be_learned() -> None:
    prior = ring(Gaussian(VP()))
    with pytest.raises(UnsupportedError, match="Monotone"):
        learn_schedule(prior, torch.zeros(4, 2).double())


# --- levels looked up in the state ---------------------------------------------------------------

DIMS = 64


def white(process: Gaussian) -> GaussianPrior:
    mean = torch.zeros(DIMS, dtype=torch.float64)
    return GaussianPrior(process, mean, torch.full_like(mean, 0.25))


def by_power(x: Tensor) -> Tensor:
    """ln σ/α of a state of the white prior under VP, from its mean square ¼ + ¾ σ²."""
    power = ((x.square().mean(dim=1) - 0.25) / 0.75).clamp(1e-6, 1 - 1e-6)
    return (power.log() - (-power).log1p()) / 2


@pytest.mark.parametrize("planned", ["log-snr", "fibonacci"])
@pytest.mark.parametrize("scale", [0.8, 1.2])
def test_looking_levels_up_mends_a_start_with_the_wrong_noise(scale: float, planned: str) -> None:
    process, n = Gaussian(VP()), 300
    prior = white(process)
    grid = GRIDS[planned](process, 16, start=2.0)
    plan = grid if planned == "fibonacci" else None
    t = process.level(grid[0])
    x_0 = prior.sample(Streams.count(0, n))
    noise = Streams.count(1, n).normal(x_0)
    x = process.corrupt(x_0, t, scale * noise)
    gaps = {}
    for name, sampler in (("plan", DDIM()), ("seen", Relevelled(by_power, DDIM(), plan=plan))):
        found = run(sampler, prior, x, grid, Streams.count(2, n)).square().mean()
        right = run(DDIM(), prior, process.corrupt(x_0, t, noise), grid, Streams.count(2, n))
        gaps[name] = abs(float(found / right.square().mean()) - 1)
    assert gaps["seen"] < gaps["plan"] / 2


def test_with_the_planned_levels_it_is_the_inner_sampler() -> None:
    process = Gaussian(Flow())
    prior, grid = white(process), torch.linspace(0.9, 0, 6, dtype=torch.float64)
    x = torch.randn(4, DIMS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plan = iter(process.levels(grid))

    def told(x_t: Tensor) -> Tensor:
        return next(plan).log_ratio.expand(len(x_t))

    ours = run(Relevelled(told, DDPM()), prior, x, grid, Streams.count(0, 4))
    plain = run(DDPM(), prior, x, grid, Streams.count(0, 4))
    assert torch.allclose(ours, plain, atol=1e-9)
    plan = iter(process.levels(grid))
    again = run(Relevelled(told, DDPM(), plan=grid), prior, x, grid, Streams.count(0, 4))
    assert torch.allclose(again, plain, atol=1e-9)
    assert Relevelled(told, Heun()).evaluations == 2


@dataclass(frozen=True)
class Recorded(Sampler):
    """DDIM that notes the levels of its steps."""

    taken: list[tuple[Tensor, Tensor]]

    def step(
        self, denoise: Any, x_t: Tensor, t: Level, s: Level, streams: Streams, history: Any
    ) -> Tensor:
        self.taken.append((t.ratio, s.ratio))
        return DDIM().step(denoise, x_t, t, s, streams, history)


@pytest.mark.parametrize("planned", [False, True])
def test_what_is_left_of_the_schedule_starts_at_the_level_seen(planned: bool) -> None:
    process = Gaussian(VP())
    grid = GRIDS["fibonacci"](process, 8)
    plan = iter(process.levels(grid))

    def off(x_t: Tensor) -> Tensor:
        return next(plan).log_ratio + torch.tensor([-0.4, 0.0, 0.3]).double()

    taken: list[tuple[Tensor, Tensor]] = []
    sampler = Relevelled(off, Recorded(taken), plan=grid if planned else None)
    run(sampler, white(process), torch.zeros(3, DIMS).double(), grid[:-1], Streams.count(0, 3))
    for (seen, rest), t, s in zip(taken[2:6], process.levels(grid[2:6]), grid[3:7], strict=True):
        if planned:
            expected = relaid(process, grid, t.t, seen)
        else:
            expected = process.level(process.schedule.time_of(seen.log()) * s / t.t).ratio
        torch.testing.assert_close(rest, expected, rtol=1e-6, atol=0)
        torch.testing.assert_close(rest[1], process.level(s).ratio, rtol=1e-6, atol=0)
        assert rest[0] < 0.95 * rest[1] < 0.95 * rest[2]


def test_estimates_of_the_wrong_shape_are_refused() -> None:
    process = Gaussian(VP())
    with pytest.raises(ShapeError, match="one number per item"):
        run(
            Relevelled(lambda x: x), white(process), torch.zeros(2, DIMS).double(),
            log_snr(process, 2), Streams.count(0, 2),
        )  # fmt: skip
    with pytest.raises(InvalidOptionError, match="1 or more"):
        Relevelled(by_power, most=0.5)


@pytest.mark.parametrize("schedule", [VP(), Cosine(), EDM()], ids=repr)
def test_the_loss_of_levels_is_the_square_of_the_log_share_of_noise(schedule: Schedule) -> None:
    level = Gaussian(schedule).level(torch.tensor([0.1, 0.5, 0.9]))
    share = level.sigma**2 / (level.alpha**2 + level.sigma**2)
    guess = torch.tensor([-1.0, 0.0, 2.0]).double()
    found = level_loss(guess, level.log_ratio)
    expected = (share.log() - torch.sigmoid(2 * guess).log()).square()
    assert torch.allclose(found, expected, rtol=1e-9)


def level_data(n: int, dims: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy states of a mixture, and their ln σ/α."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, dims, generator=torch.Generator().manual_seed(9))
    x_0 = 0.5 * centres[torch.randint(4, (n,), generator=g)] + 0.2 * torch.randn(
        n, dims, generator=g
    )
    process = Gaussian(VP())
    level = process.level(0.01 + 0.98 * torch.rand(n, generator=g, dtype=torch.float64))
    x_t = process.corrupt(x_0, level, torch.randn(n, dims, generator=g))
    return x_t, level.log_ratio


@pytest.mark.slow
def test_a_network_sees_the_level_in_64_dimensions_and_not_in_two() -> None:
    left = {}
    for dims in (2, DIMS):
        network = LevelNet(dims)
        with torch.random.fork_rng():
            torch.random.default_generator.manual_seed(0)
            for layer in network.layers:
                if isinstance(layer, nn.Linear):
                    layer.reset_parameters()
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        for step in range(700):
            x_t, log_ratio = level_data(128, dims, step)
            loss = level_loss(network(x_t), log_ratio).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        x_t, log_ratio = level_data(2000, dims, 10_000)
        with torch.no_grad():
            left[dims] = float(level_loss(network(x_t), log_ratio).mean().sqrt())
    assert left[DIMS] < 0.7
    assert left[2] > left[DIMS]
