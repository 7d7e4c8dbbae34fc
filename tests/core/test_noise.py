"""Streams: an item's noise depends on the seed and its own key, on nothing else."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.errors import ShapeError
from sfumato.noise import Streams


def blank(n: int, *, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(n, 3, 5, dtype=dtype)


def test_an_item_does_not_depend_on_its_neighbours() -> None:
    together = Streams.count(3, 4).normal(blank(4))
    for i in range(4):
        torch.testing.assert_close(
            Streams.count(3, 1, first=i).normal(blank(1))[0], together[i], rtol=0, atol=0
        )


def test_seeds_keys_and_purposes_give_other_noise() -> None:
    draws = [
        Streams(0, [1]).normal(blank(1)),
        Streams(1, [1]).normal(blank(1)),
        Streams(0, [2]).normal(blank(1)),
        Streams(0, [(1, 0)]).normal(blank(1)),
        Streams(0, [1]).spawn("measurement").normal(blank(1)),
    ]
    for i, a in enumerate(draws):
        for b in draws[:i]:
            assert not torch.equal(a, b)


def test_streams_go_on_where_they_were() -> None:
    streams = Streams.count(0, 2)
    first = streams.normal(blank(2))
    second = streams.select([1]).normal(blank(1))
    other = Streams.count(0, 2)
    torch.testing.assert_close(other.normal(blank(2)), first)
    torch.testing.assert_close(other.normal(blank(2))[1:], second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_precision_sees_the_same_numbers(dtype: torch.dtype) -> None:
    noise = Streams.count(0, 2).normal(blank(2, dtype=dtype))
    assert noise.dtype == dtype
    torch.testing.assert_close(
        noise.float(), Streams.count(0, 2).normal(blank(2)), rtol=1e-3, atol=1e-3
    )


def test_noise_is_standard_normal() -> None:
    n = 100_000
    noise = Streams.count(0, 1).normal(torch.zeros(1, n))
    assert float(noise.mean()) == pytest.approx(0, abs=5 / math.sqrt(n))
    assert float(noise.var()) == pytest.approx(1, abs=5 * math.sqrt(2 / n))


def test_complex_noise_has_unit_variance_in_total() -> None:
    n = 100_000
    noise = Streams.count(0, 1).normal(torch.zeros(1, n, dtype=torch.complex128))
    assert noise.dtype == torch.complex128
    assert float(noise.abs().square().mean()) == pytest.approx(1, abs=5 / math.sqrt(n))
    assert float(noise.real.var()) == pytest.approx(0.5, abs=5 * math.sqrt(0.5 / n))


def test_uniform_noise_fills_the_unit_interval() -> None:
    u = Streams.count(0, 1).uniform(torch.zeros(1, 100_000))
    assert 0 <= float(u.min()) < 1e-3
    assert 1 - 1e-3 < float(u.max()) < 1
    assert float(u.mean()) == pytest.approx(0.5, abs=5 / math.sqrt(12 * 100_000))


def test_the_global_generator_is_not_touched() -> None:
    before = torch.get_rng_state()
    Streams.count(0, 2).normal(blank(2))
    assert torch.equal(before, torch.get_rng_state())


def test_a_batch_of_another_size_is_refused() -> None:
    with pytest.raises(ShapeError, match="3, one item per random stream"):
        Streams.count(0, 3).normal(blank(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_a_state_is_perturbed_in_place_by_the_next_noise(dtype: torch.dtype) -> None:
    x, z = torch.ones(2, 3, 5, dtype=dtype), Streams.count(0, 2).normal(blank(2, dtype=dtype))
    widths = torch.arange(5.0)
    torch.testing.assert_close(Streams.count(0, 2).perturb_(x.clone(), 0.5), 1 + 0.5 * z)
    assert Streams.count(0, 2).perturb_(x, widths) is x
    torch.testing.assert_close(x, 1 + widths * z)


def test_a_perturbation_of_width_zero_draws_nothing() -> None:
    streams = Streams.count(0, 2)
    assert torch.equal(streams.perturb_(blank(2), 0.0), blank(2))
    assert torch.equal(streams.normal(blank(2)), Streams.count(0, 2).normal(blank(2)))
