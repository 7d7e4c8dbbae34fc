"""What a language holds, asked before anything is sampled."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import ImpossibleError
from sfumato.factors import (
    Edged,
    EditChannel,
    Edits,
    Gap,
    Memoryless,
    count,
    counts,
    gaps,
    is_empty,
    keyword,
    lengths,
    pattern,
    product,
    require,
    unroll,
    weigh,
)
from sfumato.testing import check_machine
from sfumato.testing.machines import every_row

LETTERS = ["a", "b", "c"]


def test_members_are_counted_exactly_however_many() -> None:
    assert count(pattern(".*", LETTERS), 300) == 3**300
    # rows without aa: f(n) = 2 f(n − 1) + 2 f(n − 2)
    expected = [1, 3]
    for _ in range(298):
        expected.append(2 * expected[-1] + 2 * expected[-2])
    assert count(keyword("aa", LETTERS, least=0, most=0), 299) == expected[299]


def test_lengths_are_those_of_members() -> None:
    assert lengths(pattern("(aaa|bbbbb)+", LETTERS), 12) == [3, 5, 6, 8, 9, 10, 11, 12]
    assert lengths(pattern("a?", LETTERS), 5) == [0, 1]


def test_an_empty_language_is_refused_with_the_nearest_lengths() -> None:
    machine = pattern("(abc){2,4}", LETTERS)
    assert is_empty(machine, 7)
    with pytest.raises(ImpossibleError, match="with 7 places; choose 6 or 9 places"):
        require(machine, 7)
    require(machine, 9)


def test_contradictory_constraints_are_refused_by_name() -> None:
    both = product(pattern("a*", LETTERS), keyword("b", LETTERS))
    with pytest.raises(ImpossibleError, match=r"pattern 'a\*' and keyword 'b'.*fewer constraints"):
        require(both, 5)


def test_machines_that_change_from_place_to_place_are_asked_too() -> None:
    sites = torch.zeros(3, 3)
    sites[:, 1] = -torch.inf
    assert is_empty(product(Memoryless(sites), keyword("b", LETTERS)), 3)
    assert not is_empty(product(Memoryless(sites), keyword("c", LETTERS)), 3)
    exact = EditChannel(torch.eye(3), 0.0, 0.0)  # neither loses nor inserts
    machine = Edits(exact, torch.tensor([0, 1, 2, 0]))
    assert [is_empty(machine, n) for n in range(3, 6)] == [True, False, True]
    with pytest.raises(ImpossibleError, match="choose 4 places"):
        require(machine, 6)


@pytest.mark.parametrize(
    "machine",
    [pattern("(ab|c+)*[^b]{2,}", LETTERS), counts([0], 3, least=2, most=2).ending(2),
     gaps([Gap(0, 2), [1], Gap(1, 4), [0]], 3), keyword("ab", LETTERS, least=2)],
    ids=str,
)  # fmt: skip
def test_an_unrolled_machine_weighs_the_same(machine: Edged) -> None:
    rows = every_row(3, 5)
    known = dict(zip(map(tuple, rows.tolist()), weigh(machine, rows).exp().tolist(), strict=True))
    unrolled = unroll(machine, 5)
    assert unrolled.states <= machine.states
    check_machine(unrolled, known.__getitem__, 5)
    both = product(unrolled, keyword("a", LETTERS, most=1))
    limited = weigh(keyword("a", LETTERS, most=1), rows).exp().tolist()
    expected = {row: known[row] * w for row, w in zip(known, limited, strict=True)}
    check_machine(both, expected.__getitem__, 5)


def test_a_length_needs_one_state_at_a_time() -> None:
    whole = counts([0, 1], 3, least=20, most=40).ending(2)
    assert whole.states > 40
    assert unroll(whole, 40).states == 2  # in the text, or after its end


def test_nothing_is_unrolled_for_an_empty_language() -> None:
    with pytest.raises(ImpossibleError, match="with 7 places"):
        unroll(pattern("(abc){2,4}", LETTERS), 7)
