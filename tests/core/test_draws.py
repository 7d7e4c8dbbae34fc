"""Draws from categorical distributions: their law, their resolution, their streams."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from sfumato import draws
from sfumato.noise import Streams


def test_draws_follow_their_weights() -> None:
    weights, n = torch.tensor([0.1, 0.0, 2.0, 0.5, 0.0]).double(), 50_000
    for found in (
        draws.choose(weights.expand(1, n, 5), Streams.count(0, 1)),
        draws.categorical((weights.log() + 700).expand(1, n, 5), Streams.count(1, 1)),
    ):
        counts = torch.bincount(found.flatten(), minlength=5)
        assert counts[weights == 0].tolist() == [0, 0]
        expected = n * weights[weights > 0] / float(weights.sum())
        assert stats.chisquare(counts[weights > 0].numpy(), expected.numpy()).pvalue > 1e-6


def test_a_token_is_met_by_as_many_numbers_as_its_chance_says() -> None:
    # chances far below the 2⁻²⁴ of float32 random numbers
    weights = torch.tensor([1.0, 1e-10, 3e-10], dtype=torch.float64)
    start, width = 1 / float(weights.sum()), 4e-10
    u = start + width * (torch.arange(4000) + 0.5).double() / 4000
    counts = torch.bincount(draws.invert(weights.expand(4000, 3), u), minlength=3)
    assert counts[1:].tolist() == pytest.approx([1000, 3000], abs=2)


def test_uniform_numbers_have_more_than_24_bits() -> None:
    u = draws.uniform(torch.zeros(1, 1000), Streams.count(0, 1))
    assert u.dtype == torch.float64
    on_the_coarse_grid = (u * 2**24) % 1 == 0
    assert not bool(on_the_coarse_grid.any())


def test_where_all_weights_are_0_the_last_token_is_returned() -> None:
    assert draws.choose(torch.zeros(1, 2, 3), Streams.count(0, 1)).tolist() == [[2, 2]]


def test_an_item_draws_from_its_own_stream() -> None:
    weights = torch.ones(4, 6, 9)
    together = draws.choose(weights, Streams.count(0, 4))
    alone = draws.choose(weights[:1], Streams.count(0, 1, first=2))
    assert torch.equal(together[2:3], alone)
