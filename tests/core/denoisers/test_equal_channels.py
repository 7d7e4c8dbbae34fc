"""One channel in the place of several that are equal: nothing is lost where they are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sfumato.denoisers import (
    Denoiser,
    EqualChannels,
    Estimate,
    GaussianPrior,
    Padded,
    Preconditioned,
    tweedie,
)
from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.inverse.guides import MMPS
from sfumato.inverse.likelihoods import Gaussian as Noise
from sfumato.inverse.problems import Problem
from sfumato.inverse.solvers import Guided
from sfumato.inverse.standard import Mask
from sfumato.networks import UNet
from sfumato.noise import Streams
from sfumato.processes import EDM, VP, Flow, Gaussian, Level
from sfumato.samplers import DDPM

N = 6
PROCESSES = [Gaussian(EDM()), Gaussian(VP()), Gaussian(Flow())]
PLACE = torch.arange(N, dtype=torch.float64)
MEAN = 0.1 * PLACE.reshape(1, N)
COVARIANCE = 0.4**2 * 0.7 ** (PLACE[:, None] - PLACE).abs()


def grey(process: Gaussian) -> GaussianPrior:
    """The exact prior of one channel."""
    return GaussianPrior(process, MEAN, COVARIANCE)


def coloured(process: Gaussian, channels: int) -> GaussianPrior:
    """The same data with all channels equal."""
    return GaussianPrior(
        process,
        MEAN.expand(channels, N),
        torch.kron(torch.ones(channels, channels, dtype=torch.float64), COVARIANCE),
    )


def state(process: Gaussian, t: float, n: int = 3) -> tuple[Tensor, Level]:
    level = process.level(t)
    x_0 = grey(process).sample(Streams.count(1, n))
    return process.corrupt(x_0, level, Streams.count(2, n).normal(x_0)), level


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("t", [0.05, 0.3, 0.7])
def test_it_equals_the_exact_denoiser_of_one_channel(
    process: Gaussian, channels: int, t: float
) -> None:
    x_t, level = state(process, t)
    expected = grey(process)(x_t, level)
    found = EqualChannels(coloured(process, channels), channels)(x_t, level)
    close = {"rtol": 1e-5, "atol": 1e-7}
    torch.testing.assert_close(found.mean, expected.mean, **close)
    torch.testing.assert_close(found.variance, expected.variance, **close)
    assert found.covariance is not None
    assert expected.covariance is not None
    v = Streams.count(3, 3).normal(x_t)
    torch.testing.assert_close(found.covariance(v), expected.covariance(v), **close)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_its_derivative_is_the_covariance(process: Gaussian) -> None:
    class Forward(Denoiser):
        """The exact prior as a network is: it can be differentiated and knows nothing else."""

        def __init__(self) -> None:
            self.process, self.prior = process, coloured(process, 3)

        def __call__(self, x_t, t, condition=None) -> Estimate:
            return Estimate(self.prior(x_t, t).mean)

    x_t, level = state(process, 0.4)
    v = Streams.count(3, 3).normal(x_t)
    _, covariance = tweedie(EqualChannels(Forward(), 3), x_t, level)
    expected = grey(process)(x_t, level).covariance
    assert expected is not None
    torch.testing.assert_close(covariance(v), expected(v), rtol=1e-5, atol=1e-7)


def test_exact_draws_have_the_spread_of_one_channel() -> None:
    process, n = PROCESSES[0], 20_000
    x_t, level = state(process, 0.4, n=1)
    many = EqualChannels(coloured(process, 3), 3)(x_t.expand(n, 1, N), level)
    draws = many.draw(Streams.count(4, n))
    variance = grey(process)(x_t, level).variance
    assert variance is not None
    # the error of a variance from n draws is its value times √(2/n); five of these
    torch.testing.assert_close(draws.var(dim=0), variance[0], rtol=5 * (2 / n) ** 0.5, atol=0.0)


@pytest.mark.parametrize("common", [0.0, 0.1])
def test_the_variance_is_that_of_the_average_where_channels_err_apart(common: float) -> None:
    process = PROCESSES[0]
    x_t, level = state(process, 0.4)
    blank = torch.zeros(3, 3, 400, dtype=torch.float64)
    errors = 0.2 * Streams.count(7, 3).normal(blank)
    errors = errors - errors.mean(dim=1, keepdim=True) + common  # g = 0

    class Erring(Denoiser):
        """Knows the square error of each item's channels, and no more."""

        def __init__(self) -> None:
            self.process = process

        def __call__(self, x_t, t, condition=None) -> Estimate:
            return Estimate(errors, variance=errors.square().mean(dim=(1, 2), keepdim=True))

    found = EqualChannels(Erring(), 3)(x_t[..., :1].expand(3, 1, 400), level)
    spread = found.variance.mean(dim=(1, 2))
    # the floor is a third, that of independent errors
    expected = torch.maximum(torch.full((3,), common**2), errors.square().mean(dim=(1, 2)) / 3)
    torch.testing.assert_close(spread, expected.double(), rtol=1e-6, atol=0)


def test_levels_may_differ_from_item_to_item() -> None:
    process = PROCESSES[1]
    times = torch.tensor([0.1, 0.4, 0.8], dtype=torch.float64)
    level = process.level(times)
    x_t = Streams.count(5, 3).normal(torch.zeros(3, 1, N, dtype=torch.float64))
    together = EqualChannels(coloured(process, 3), 3)(x_t, level).mean
    for i, t in enumerate(times):
        alone = EqualChannels(coloured(process, 3), 3)(x_t[i : i + 1], process.level(t)).mean
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-9, atol=1e-12)


def test_pure_noise_returns_the_mean_of_the_data() -> None:
    for process in PROCESSES:
        level = process.level(1.0)
        x_t = Streams.count(6, 2).normal(torch.zeros(2, 1, N, dtype=torch.float64)) * level.sigma
        found = EqualChannels(coloured(process, 3), 3)(x_t, level).mean
        # what is left of the data at the last level is 1/80 of the noise, or less
        torch.testing.assert_close(found, MEAN.expand(2, 1, N), rtol=0, atol=0.05)


def test_a_network_is_told_the_noise_that_its_input_has() -> None:
    heard: list[tuple[Tensor, Tensor]] = []

    class Listener(Denoiser):
        process = Gaussian(EDM())

        def __call__(self, x_t, t, condition=None) -> Estimate:
            heard.append((x_t.std(dim=1).square().mean().sqrt(), t.ratio))
            return Estimate(x_t)

    adapted = EqualChannels(Listener(), 3)
    x_t = torch.zeros(1, 1, 100, 100)
    assert adapted(x_t, adapted.process.at_ratio(0.2)).mean.shape == x_t.shape
    chroma, told = heard[0]
    assert told.item() == pytest.approx(0.2 * 3**0.5, rel=1e-9)
    # the differences of three channels are noise of the level told, but for their mean
    assert chroma.item() == pytest.approx(told.item(), rel=0.03)


def test_an_uneven_level_stays_uneven() -> None:
    process = Gaussian(EDM())
    sigma = torch.full((1, 1, 8, 8), 0.5, dtype=torch.float64)
    sigma[..., :4] = 0.1
    level = Level(process.at_ratio(0.5).t, torch.ones_like(sigma), sigma, process)
    inner = EqualChannels(coloured(process, 3), 3).noisier(level)
    torch.testing.assert_close(inner.sigma, 3**0.5 * sigma)
    assert process.level(inner.t).sigma.item() == pytest.approx(0.5 * 3**0.5)


def network() -> Preconditioned:
    torch.manual_seed(0)
    net = UNet(channels=3, widths=(8, 8), blocks=(1, 1), variance=True, embedding=8)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return Preconditioned(net.eval(), Gaussian(EDM()), head="variance")


def test_a_sample_alone_equals_that_in_a_batch() -> None:
    denoiser = EqualChannels(Padded(network(), 4), 3)
    problem = Problem(
        denoiser, Mask((torch.arange(100) % 3 > 0).reshape(1, 10, 10), Noise(0.05)),
        torch.linspace(-1, 1, 300).reshape(3, 1, 10, 10),
    )  # fmt: skip
    solver = Guided(MMPS(), sampler=DDPM("calibrated"), steps=3)
    together = solver(problem, Streams.count(0, 3))
    alone = solver(problem.select([1]), Streams.count(0, 1, first=1))
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-4)
    assert together.shape == (3, 1, 10, 10)


def test_the_variance_of_a_network_is_a_share_of_that_of_its_channels() -> None:
    inner = network()
    x_t = Streams.count(0, 2).normal(torch.zeros(2, 1, 8, 8))
    level = inner.process.at_ratio(0.3)
    adapted = EqualChannels(inner, 3)
    found = adapted(x_t, level)
    z = x_t + adapted.noisier(level).sigma * adapted.differences(x_t)
    expected = inner(z, adapted.noisier(level))
    assert expected.variance is not None
    share = found.variance / expected.variance.mean(dim=1, keepdim=True)
    torch.testing.assert_close(share, share[:, :, :1, :1].expand_as(share))  # the same for an item
    assert bool(((share > 0.33) & (share <= 1)).all())
    torch.testing.assert_close(found.mean, expected.mean.mean(dim=1, keepdim=True))


def test_what_has_several_channels_is_refused() -> None:
    adapted = EqualChannels(coloured(PROCESSES[0], 3), 3)
    with pytest.raises(ShapeError, match="one channel"):
        adapted(torch.zeros(1, 3, N), PROCESSES[0].level(0.5))
    with pytest.raises(InvalidOptionError, match="use 1 or more"):
        EqualChannels(coloured(PROCESSES[0], 3), 0)
