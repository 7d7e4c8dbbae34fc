"""Learned noise for data in steps: it bounds what it should, and costs fewer bits."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from torch import Tensor

from sfumato.codecs import Affine
from sfumato.denoisers import GaussianPrior
from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.evaluation.bits import data_bits
from sfumato.likelihood import dequantise, dequantised, flow_nats
from sfumato.networks import Dequantiser
from sfumato.noise import Streams
from sfumato.processes import EDM, Gaussian
from sfumato.training.dequantisers import learn_dequantisation

WIDTH = 1.0
PROCESS = Gaussian(EDM(sigma_min=0.01, sigma_max=20.0))
COVARIANCE = torch.tensor([[0.25, 0.2], [0.2, 0.25]], dtype=torch.float64)


def pair() -> GaussianPrior:
    """Two elements that depend on each other, with half a step of spread."""
    return GaussianPrior(PROCESS, torch.tensor([0.2, 0.4], dtype=torch.float64), COVARIANCE)


def whole(prior: GaussianPrior, n: int, first: int = 0) -> Tensor:
    """Draws from the probabilities of the whole numbers."""
    return (prior.sample(Streams.count(0, n, first=first)) / WIDTH).floor() * WIDTH


def true_nats(x: Tensor) -> Tensor:
    """−ln P(x), by the midpoint rule on 100² places of each step."""
    place = (torch.arange(100, dtype=torch.float64) + 0.5) / 100
    corner = torch.cartesian_prod(place, place)
    clean = PROCESS.level(PROCESS.schedule.t_min)
    rows = [pair().log_prob(row + WIDTH * corner, clean).exp().mean() for row in x.unique(dim=0)]
    table = {tuple(row.tolist()): -p.log() for row, p in zip(x.unique(dim=0), rows, strict=True)}
    return torch.stack([table[tuple(row.tolist())] for row in x]) - 2 * math.log(WIDTH)


def bound(dequantiser: Dequantiser | None, x: Tensor, seed: int = 7) -> Tensor:
    """E[−ln p + ln q] of each item, from one draw."""
    streams = Streams.count(seed, len(x))
    more = {} if dequantiser is None else {"noise": dequantiser}
    noisy, nats = dequantised(x, WIDTH, streams, **more)
    clean = PROCESS.level(PROCESS.schedule.t_min)
    return nats - pair().log_prob(noisy, clean) - 2 * math.log(WIDTH)


def bent(channels: int = 2, dimensions: int = 0, size: float = 0.3) -> Dequantiser:
    """One that is far from uniform."""
    dequantiser = Dequantiser(channels, dimensions=dimensions, hidden=8)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in dequantiser.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return dequantiser


def test_a_fresh_one_is_uniform_noise() -> None:
    x = whole(pair(), 50)
    noisy, nats = dequantised(x, WIDTH, Streams.count(1, 50), Dequantiser(2))
    assert float(nats.abs().max()) < 1e-12
    torch.testing.assert_close(noisy, dequantise(x, WIDTH, Streams.count(1, 50)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(2,), (2, 5), (1, 3, 4)], ids=str)
def test_q_is_a_density_on_the_step(shape: tuple[int, ...]) -> None:
    # ∫ du = E_q[1/q] = 1, and shares stay inside
    n = 40_000
    x = torch.ones(n, *shape, dtype=torch.float64)
    noise = bent(shape[0], len(shape) - 1, 0.3 if len(shape) == 1 else 0.1)
    with torch.no_grad():
        u, nats = noise(x, Streams.count(0, n))
    weight = (-nats).exp()
    assert float(nats.std()) > 0.05  # else there is nothing to see
    assert abs(float(weight.mean()) - 1) < 5 * float(weight.std()) / math.sqrt(n)
    assert ((u >= 0) & (u < 1)).all()


def test_any_noise_gives_a_bound() -> None:
    x = whole(pair(), 4000)
    found = bound(bent(), x)
    gap = found - true_nats(x)
    assert float(gap.mean()) > 5 * float(gap.std()) / math.sqrt(len(x))


@functools.cache
def learned() -> Dequantiser:
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        dequantiser = Dequantiser(2)
    learn_dequantisation(dequantiser, pair(), whole(pair(), 3000, first=10_000), WIDTH)
    return dequantiser


def test_learned_noise_closes_most_of_the_gap_and_stays_a_bound() -> None:
    x = whole(pair(), 4000)
    truth = true_nats(x)
    flat, ours = (bound(noise, x) - truth for noise in (None, learned()))
    error = 5 * float(ours.std()) / math.sqrt(len(x))
    assert float(flat.mean()) > 0.5
    assert -error < float(ours.mean()) < 0.2 * float(flat.mean())
    assert float(ours.std()) < 0.5 * float(flat.std())


def test_where_the_density_is_flat_it_goes_back_to_uniform_noise() -> None:
    prior = GaussianPrior(PROCESS, torch.zeros(2).double(), torch.full((2,), 9.0).double())
    x = (prior.sample(Streams.count(0, 500)) / 0.1).floor() * 0.1
    dequantiser = bent()
    with torch.no_grad():
        before = float(dequantiser(x, Streams.count(1, 500))[1].mean())
    learn_dequantisation(dequantiser, prior, x, 0.1, steps=200)
    with torch.no_grad():
        after = dequantiser(x, Streams.count(1, 500))[1]
    assert before > 0.1
    assert abs(float(after.mean())) < 0.01


def test_bits_of_data_are_fewer_with_learned_noise() -> None:
    n = 300
    codec = Affine(shift=-1.0, scale=2.0)  # physical data, of which the prior sees (x + 1)/2
    prior = GaussianPrior(PROCESS, torch.tensor([0.6, 0.7]).double(), COVARIANCE / 4)
    x = whole(pair(), n)
    dequantiser = Dequantiser(2)
    learn_dequantisation(dequantiser, prior, x, WIDTH, codec=codec, steps=200)
    bits = functools.partial(
        data_bits, prior, codec, width=WIDTH, estimate=functools.partial(flow_nats, steps=25)
    )
    flat, ours = bits(x, Streams.count(1, n)), bits(x, Streams.count(1, n), noise=dequantiser)
    assert ours.value < flat.value - 0.3
    assert ours.value > float(true_nats(x).mean()) / (2 * math.log(2)) - 0.05
    parts = [
        bits(x[i : i + 1], Streams.count(1, 1, first=i), noise=dequantiser).value for i in range(2)
    ]
    both = bits(x[:2], Streams.count(1, 2), noise=dequantiser).value
    assert both == pytest.approx(sum(parts) / 2, abs=1e-5)


def test_data_that_it_is_not_made_for_are_refused() -> None:
    with pytest.raises(ShapeError, match="any×2"):
        Dequantiser(2)(torch.zeros(3, 4), Streams.count(0, 3))
    with pytest.raises(InvalidOptionError, match="dimensions=4"):
        Dequantiser(2, dimensions=4)
    with pytest.raises(InvalidOptionError, match="not in steps"):
        dequantised(torch.tensor([[0.0], [0.3]]), 0.25, Streams.count(0, 2), Dequantiser(1))
