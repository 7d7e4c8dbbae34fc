"""Products of machines, and rows with gaps of unknown length."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import InvalidOptionError, UnsupportedError
from sfumato.factors import (
    Deterministic,
    EditChannel,
    Edits,
    Gap,
    Machine,
    Memoryless,
    gaps,
    keyword,
    pattern,
    product,
    weigh,
)
from sfumato.testing import check_machine
from sfumato.testing.machines import every_row, uneven_beliefs

LETTERS = ["a", "b", "c"]
EDITS = Edits(
    EditChannel(torch.full((3, 3), 0.1) + 0.7 * torch.eye(3), 0.1, 0.1), torch.tensor([0, 1, 1, 2])
)
SITES = Memoryless(uneven_beliefs(1, 5, 3, seed=3)[0])
GAPS = gaps([Gap(0, 3), [1], Gap(0, 3)], 3)
WORD = keyword("ab", LETTERS, most=1)
RULE = pattern("a.*|[^a]*b.*", LETTERS)


def weight(*machines: Machine):
    rows = every_row(3, 5)
    total = torch.stack([weigh(machine, rows) for machine in machines]).sum(dim=0).exp()
    known = dict(zip(map(tuple, rows.tolist()), total.tolist(), strict=True))
    return known.__getitem__


@pytest.mark.parametrize(
    "machines",
    [(WORD, RULE), (WORD, SITES), (GAPS, WORD), (GAPS, WORD, SITES), (SITES, SITES), (EDITS, SITES),
     (EDITS, WORD), (RULE, EDITS, WORD, SITES), (GAPS, EDITS), (EDITS,)],
    ids=lambda machines: ", ".join(map(str, machines)),
)  # fmt: skip
def test_a_product_weighs_as_much_as_its_factors_multiplied(machines: tuple[Machine, ...]) -> None:
    check_machine(product(*machines), weight(*machines), 5)


def test_a_product_of_sets_is_a_set_and_keeps_only_what_can_be_reached() -> None:
    joined = product(WORD, RULE)
    assert isinstance(joined, Deterministic)
    assert joined.states <= WORD.states * RULE.states


def test_contradictions_leave_nothing() -> None:
    empty = product(keyword("ab", LETTERS), keyword("ab", LETTERS, least=0, most=0))
    assert (weigh(empty, every_row(3, 4)) == -torch.inf).all()


def test_two_channels_of_edits_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="at most one machine"):
        product(EDITS, EDITS)


def test_machines_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match=r"alphabets \[3, 4\]"):
        product(WORD, keyword("ab", [*LETTERS, "d"]))
    with pytest.raises(InvalidOptionError, match=r"numbers of places \[4, 5\]"):
        product(SITES, Memoryless(torch.zeros(4, 3)))
    with pytest.raises(InvalidOptionError, match="alphabets"):
        product()


def readings(x: tuple[int, ...], parts: list[list[int] | Gap], end: int | None = None) -> float:
    """Σ over the lengths of all gaps."""
    if end is not None and end in x:
        cut = x.index(end)
        return readings(x[:cut], parts) if set(x[cut:]) == {end} else 0.0
    if not parts:
        return float(not x)
    first, *rest = parts
    if isinstance(first, Gap):
        chances = first.log_lengths.exp().tolist()[: len(x) + 1]
        return sum(p * readings(x[k:], rest) for k, p in enumerate(chances))
    n = len(first)
    return readings(x[n:], rest) if list(x[:n]) == first else 0.0


@pytest.mark.parametrize("end", [None, 2])
@pytest.mark.parametrize("places", [0, 1, 5])
@pytest.mark.parametrize(
    "parts",
    [[[0], Gap(1, 3), [1, 0]], [Gap(0, 2), Gap(1, 2, (0.2, 0.8)), [0], Gap(0, 3)],
     [[0, 1]], [], [Gap(2, 2)], [Gap(0, 0), [1], Gap(0, 4, (0.5, 0.0, 0.0, 0.5, 0.0))]],
    ids=str,
)  # fmt: skip
def test_gaps_sum_over_the_ways_to_read_a_row(
    parts: list[list[int] | Gap], places: int, end: int | None
) -> None:
    def phi(x: tuple[int, ...]) -> float:
        return readings(x, parts, end)

    check_machine(gaps(parts, 3, end=end), phi, places)


@pytest.mark.parametrize(
    ("least", "most", "weights"), [(-1, 2, ()), (3, 2, ()), (0, 1, (1.0,)), (0, 1, (0.0, 0.0))]
)
def test_gaps_that_make_no_sense_are_refused(
    least: int, most: int, weights: tuple[float, ...]
) -> None:
    with pytest.raises(InvalidOptionError, match="gap"):
        Gap(least, most, weights)


def test_known_parts_hold_no_end_and_no_unknown_token() -> None:
    with pytest.raises(InvalidOptionError, match="leave out the end token"):
        gaps([[0, 2]], 3, end=2)
    with pytest.raises(InvalidOptionError, match="from 0 to 2"):
        gaps([[3]], 3)
