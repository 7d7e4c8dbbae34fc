"""Machines of few states: sets of rows, their complements, unions and intersections."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import InvalidOptionError
from sfumato.factors import (
    Automaton,
    Deterministic,
    Edges,
    EditChannel,
    Edits,
    Gap,
    counts,
    gaps,
    length,
)
from sfumato.testing import check_machine

FIRST = Deterministic(
    torch.tensor([[1, 0, -1], [1, 2, 2], [0, -1, 2]]), torch.tensor([False, True, True])
)
SECOND = Deterministic(torch.tensor([[0, 1, 0], [1, 0, -1]]), torch.tensor([True, False]))


def member(machine: Deterministic, x: tuple[int, ...]) -> bool:
    state = machine.start
    for token in x:
        state = int(machine.table[state, token])
        if state < 0:
            return False
    return bool(machine.accepting[state])


@pytest.mark.parametrize("places", [0, 1, 5])
def test_a_deterministic_machine_keeps_the_laws(places: int) -> None:
    check_machine(FIRST, lambda x: float(member(FIRST, x)), places, single=True)


def test_tokens_that_do_the_same_share_a_class() -> None:
    table = torch.tensor([[1, 0, 1, 1], [-1, 0, -1, -1]])
    machine = Deterministic(table, torch.tensor([True, True]))
    assert machine.kinds == 2
    check_machine(machine, lambda x: float(member(machine, x)), 4, single=True)


def test_intersection_union_and_complement_are_those_of_sets() -> None:
    one, two = (lambda x, m=m: member(m, x) for m in (FIRST, SECOND))
    check_machine(FIRST & SECOND, lambda x: float(one(x) and two(x)), 5, single=True)
    check_machine(FIRST | SECOND, lambda x: float(one(x) or two(x)), 5, single=True)
    check_machine(~FIRST, lambda x: float(not one(x)), 5, single=True)


def test_the_laws_of_de_morgan_give_the_same_smallest_machine() -> None:
    one, two = ~(FIRST & SECOND), ~FIRST | ~SECOND
    assert one.states == two.states
    assert not ((one & ~two) | (two & ~one)).accepting.any()


def test_a_machine_and_its_complement_have_no_member_in_common() -> None:
    empty = FIRST & ~FIRST
    assert empty.states == 1
    assert not empty.accepting.any()
    check_machine(empty, lambda _: 0.0, 3)


def test_minimal_merges_states_that_differ_in_nothing() -> None:
    copies = torch.tensor([[1, 2, -1], [3, 3, 4], [3, 3, 4], [0, 0, -1], [4, 4, 4]])
    machine = Deterministic(copies, torch.tensor([True, False, False, False, False]))
    small = machine.minimal()
    assert small.states == 3  # 1 and 2 are one; 4 leads nowhere
    check_machine(small, lambda x: float(member(machine, x)), 6, single=True)


def test_a_text_of_any_length_is_followed_by_end_tokens_only() -> None:
    def filled(x: tuple[int, ...]) -> float:
        cut = x.index(2) if 2 in x else len(x)
        return float(all(token == 2 for token in x[cut:]) and member(SECOND, x[:cut]))

    check_machine(SECOND.ending(2), filled, 5, single=True)


@pytest.mark.parametrize(("least", "most"), [(0, 0), (1, 1), (2, None), (1, 3), (0, None), (5, 9)])
def test_counts_are_those_of_the_tokens(least: int, most: int | None) -> None:
    def holds(x: tuple[int, ...]) -> float:
        n = sum(token in (0, 2) for token in x)
        return float(least <= n <= (most if most is not None else n))

    check_machine(counts([0, 2], 3, least=least, most=most), holds, 5, single=True)


def test_a_length_is_the_number_of_tokens_before_the_end() -> None:
    def holds(x: tuple[int, ...]) -> float:
        text = [token for token in x if token != 1]
        return float(2 <= len(text) <= 3 and list(x) == text + [1] * (len(x) - len(text)))

    check_machine(length(3, least=2, most=3, end=1), holds, 5, single=True)


def test_a_weighted_machine_sums_over_all_paths() -> None:
    g = torch.Generator().manual_seed(1)
    edges = Edges(
        torch.tensor([0, 0, 1, 1, 2, 0, 2, 2]), torch.tensor([0, 0, 1, 0, 1, 1, 0, 0]),
        torch.tensor([0, 1, 1, 2, 0, 2, 1, 1]), torch.randn(8, generator=g, dtype=torch.float64),
    )  # fmt: skip
    initial = torch.tensor([0.3, -torch.inf, -1.0], dtype=torch.float64)
    final = torch.tensor([-torch.inf, 0.0, 0.5], dtype=torch.float64)
    machine = Automaton(initial, final, torch.tensor([0, 1, 0]), edges)

    def paths(x: tuple[int, ...]) -> float:
        a = initial.exp()
        for token in x:
            step = torch.zeros(3, 3, dtype=torch.float64)
            for s, c, t, w in zip(
                edges.source, edges.reading, edges.target, edges.log_weight, strict=True
            ):
                step[s, t] += w.exp() * (c == machine.classes[token])
            a = a @ step
        return float(a @ final.exp())

    check_machine(machine, paths, 5)


@pytest.mark.parametrize(
    ("table", "start"), [([[0, 2]], 0), ([[-2, 0]], 0), ([[0, 0]], 1), ([[0, 0], [0, 0]], 0)]
)
@pytest.mark.usefixtures("unchecked_shapes")
def test_a_table_with_states_that_do_not_exist_is_refused(
    table: list[list[int]], start: int
) -> None:
    with pytest.raises(InvalidOptionError, match="states"):
        Deterministic(torch.tensor(table), torch.tensor([True]), start)


def test_machines_of_different_alphabets_are_not_joined() -> None:
    other = Deterministic(torch.tensor([[0, 0]]), torch.tensor([True]))
    with pytest.raises(InvalidOptionError, match="reads 3 tokens, the other 2"):
        FIRST & other


def test_counts_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="from 3 to 2 times"):
        counts([0], 3, least=3, most=2)
    with pytest.raises(InvalidOptionError, match="number them from 0 to 2"):
        counts([3], 3)


@pytest.mark.parametrize("end", [-1, 3])
def test_an_end_that_is_no_token_is_refused(end: int) -> None:
    for make in (
        lambda: SECOND.ending(end),
        lambda: length(3, end=end),
        lambda: gaps([Gap(0, 2)], 3, end=end),
        lambda: Edits(EditChannel(torch.eye(3)), torch.tensor([0]), end=end),
    ):
        with pytest.raises(InvalidOptionError, match=f"end token {end}; choose one from 0 to 2"):
            make()
