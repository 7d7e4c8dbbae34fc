"""Sums and draws over the paths of a machine."""

from __future__ import annotations

import math

import pytest
import torch

from sfumato.errors import ImpossibleError, NotFiniteError, ShapeError
from sfumato.factors import (
    Deterministic,
    Memoryless,
    Tilted,
    best,
    keyword,
    log_partition,
    marginals,
    pattern,
    sample,
)
from sfumato.factors.logs import group, mix, run
from sfumato.noise import Streams
from sfumato.testing.machines import uneven_beliefs

LETTERS = ["a", "b", "c"]


def test_places_where_nothing_agrees_are_named() -> None:
    machine = pattern("ab+c", LETTERS)
    log_q = torch.zeros(2, 4, 3, dtype=torch.float64)
    log_q[1, 2, :2] = -torch.inf  # the third is c, so the fourth can be nothing
    for call in (
        lambda: sample(machine, log_q, Streams.count(0, 2)),
        lambda: marginals(machine, log_q),
        lambda: best(machine, log_q),
    ):
        with pytest.raises(ImpossibleError, match=r"'ab\+c'.* at place 3 \(item 1"):
            call()
    assert Tilted(machine, log_q).possible.tolist() == [True, False]
    assert log_partition(machine, log_q)[1] == -math.inf


def test_a_row_that_is_too_short_is_named_by_its_length() -> None:
    log_q = torch.zeros(1, 3, 3, dtype=torch.float64)
    with pytest.raises(ImpossibleError, match="with 3 places"):
        sample(keyword("abca", LETTERS), log_q, Streams.count(0, 1))


@pytest.mark.usefixtures("unchecked_shapes")
def test_beliefs_of_another_shape_are_refused() -> None:
    machine = Memoryless(torch.zeros(4, 3))
    with pytest.raises(ShapeError, match="1×5×3, expected batch×4×3"):
        log_partition(machine, torch.zeros(1, 5, 3))
    with pytest.raises(ShapeError, match="1×4×2"):
        log_partition(machine, torch.zeros(1, 4, 2))


def test_an_item_is_drawn_as_if_it_were_alone() -> None:
    machine, log_q = keyword("ab", LETTERS, most=1), uneven_beliefs(6, 9, 3)
    together = sample(machine, log_q, Streams.count(4, 6))
    alone = [sample(machine, log_q[i : i + 1], Streams(4, [i])) for i in range(6)]
    assert torch.equal(together, torch.cat(alone))


def test_a_sample_is_always_a_member() -> None:
    machine = pattern("(ab|c)*a{2,3}[^a]*", LETTERS)
    x = sample(machine, uneven_beliefs(500, 12, 3), Streams.count(0, 500))
    assert machine.accepts(x).all()


def test_weights_that_differ_by_more_than_float64_holds_are_kept() -> None:
    # the only member has weight e⁻²⁰⁰⁰ in its first place, relative to the others
    machine = Deterministic(torch.tensor([[-1, 0, -1], [1, 1, 1]]), torch.tensor([True, False]))
    log_q = torch.zeros(1, 3, 3, dtype=torch.float64)
    log_q[0, 0, 1] = -2000.0
    assert float(log_partition(machine, log_q)) == pytest.approx(-2000, rel=1e-15)
    assert marginals(machine, log_q)[0, :, 1].tolist() == [0.0] * 3
    assert sample(machine, log_q, Streams.count(0, 1)).tolist() == [[1, 1, 1]]


def test_a_sum_of_a_group_is_not_lost_beside_a_larger_group() -> None:
    values = torch.tensor([[0.0, -5000.0, -5000.0, -torch.inf]], dtype=torch.float64)
    sums = group(values, torch.tensor([0, 1, 1, 2]), 4)
    assert sums[0, :2].tolist() == pytest.approx([0, -5000 + math.log(2)], rel=1e-15)
    assert sums[0, 2:].tolist() == [-math.inf] * 2


@pytest.mark.parametrize("low", [-1.0, -900.0, -math.inf])
def test_a_mixture_equals_its_sum_term_by_term(low: float) -> None:
    g = torch.Generator().manual_seed(0)
    values = torch.randn(4, 5, generator=g, dtype=torch.float64)
    matrix = torch.randn(5, 3, generator=g, dtype=torch.float64)
    values[0, :4], matrix[1, 2], matrix[:, 1] = low, low, low
    wanted = torch.logsumexp(values.unsqueeze(-1) + matrix, dim=1)
    torch.testing.assert_close(mix(values, matrix), wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("n", [1, 2, 7, 8])
@pytest.mark.parametrize("down", [False, True])
def test_a_recurrence_equals_its_loop(n: int, down: bool) -> None:
    g = torch.Generator().manual_seed(n)
    values = torch.randn(2, n, generator=g, dtype=torch.float64)
    ratio = torch.randn(n, generator=g, dtype=torch.float64)
    ratio[n // 2] = -torch.inf
    wanted, order = values.clone(), range(1, n)
    for j in [n - 1 - k for k in order] if down else order:
        before = j + 1 if down else j - 1
        wanted[:, j] = torch.logaddexp(values[:, j], ratio[j] + wanted[:, before])
    torch.testing.assert_close(run(values, ratio, down=down), wanted, rtol=1e-13, atol=1e-13)


def test_beliefs_that_are_no_numbers_are_refused() -> None:
    log_q = torch.zeros(1, 4, 3)
    log_q[0, 1, 2] = torch.nan
    with pytest.raises(NotFiniteError, match="1 of 12 values"):
        log_partition(keyword("ab", LETTERS), log_q)
