"""Draws from machines have the distribution that summing over all rows gives."""

from __future__ import annotations

import time

import pytest
import torch
from scipy import stats
from torch import Tensor

from sfumato.factors import (
    Deterministic,
    EditChannel,
    Edits,
    Gap,
    Machine,
    Memoryless,
    gaps,
    keyword,
    length,
    pattern,
    product,
    sample,
    weigh,
)
from sfumato.noise import Streams
from sfumato.testing.machines import every_row, uneven_beliefs

LETTERS = ["a", "b", "c"]
PLACES = 6
CHANNEL = EditChannel(torch.full((3, 3), 0.1) + 0.7 * torch.eye(3), 0.15, 0.1)
SEEN = torch.tensor([0, 1, 1, 2, 0])
SITES = Memoryless(uneven_beliefs(1, PLACES, 3, seed=8)[0])
MACHINES = [
    SITES,
    pattern("(ab|c+)*[^b]{2,}", LETTERS),
    keyword("ab", LETTERS, most=1),
    product(keyword("ab", LETTERS), keyword("cc", LETTERS, least=0, most=0)),
    length(3, least=2, most=4, end=2),
    gaps([Gap(0, 2), [1], Gap(1, 4), [0]], 3),
    gaps([[0], Gap(1, 3, (0.7, 0.2, 0.1)), [1]], 3, end=2),
    Edits(CHANNEL, SEEN),
    Edits(CHANNEL, SEEN, band=1),
    Edits(CHANNEL, SEEN, end=2),
    product(Edits(CHANNEL, SEEN), keyword("ab", LETTERS, most=1), SITES),
]
PATTERNS = [
    "(a|b)*c.{2,}", "a{2,4}.*", "[^a]*", "[a-b]{3}c*", ".*abc.*", "(ab|bc)+", "(a?b?c?){3}",
    "^a.*c$", "^ab.*$|b+", "(a*b)*", "((a|ab)(c|bcc)?)+", "((a|b){2}){1,3}", "[^ab]*|c{3}.*",
    r"\w+", r"\S{3}.+", ".{6}", "(|a)b.*", "a+?b*?c*?", "(?:abc)*", "(?P<x>a)b.{4}", "[abc]+",
    "[^b]+b[^b]+", "a.c.*", "(^a|b)*", "(a$|b)*", "(^|b).*a", ".*a($|b)", r"\Aab.*\Z",
    "(a|b)*a(a|b){2}", "(aa|aaa)*", "(a*b*c*|c*b*a*){2}", r"[^\W]{2,6}", "((a|b)(b|c)){2,3}",
    "(a(b(c)?)?)*", "(.)*b(.)*", "a*b+c{1,3}", "(a{2}|b{3})+", "[ab]*[bc]*", "(c|[^c]{2})*",
    "c?(ab)*c?", "(abc|cba|bb)+", ".{2}b.{3}", "(?:a|b|c){0,}", "b{,3}a{,3}", "[^c]{4}c[^c]",
    "(a[^a])+", "(aab?)*|(bba?)*", "(a|b)+(b|c)+", "^[^b]*$", "(ca|ac|b){3,6}",
]  # fmt: skip


def fit(machine: Machine, draws: int, *, seed: int = 0) -> float:
    """p-value of χ² of draws against the sum over all rows."""
    rows = every_row(3, PLACES)
    log_q = uneven_beliefs(1, PLACES, 3, seed=seed)
    exact = (log_q[0, torch.arange(PLACES), rows].sum(dim=1) + weigh(machine, rows)).softmax(dim=0)
    x = sample(machine, log_q.expand(draws, -1, -1), Streams.count(seed, draws))
    numbers = (x * 3 ** torch.arange(PLACES).flip(0)).sum(dim=1)
    found = numbers.bincount(minlength=len(rows)).double()
    assert not found[exact == 0].any()
    return chi_square(found, exact * draws)


def chi_square(found: Tensor, expected: Tensor) -> float:
    """p-value; cells of fewer than 5 expected draws are taken together."""
    rare = expected < 5
    groups = [torch.cat([n[~rare], n[rare].sum().unsqueeze(0)]) for n in (found, expected)]
    kept = groups[1] > 0
    if int(kept.sum()) == 1:
        return 1.0
    distance = ((groups[0] - groups[1])[kept] ** 2 / groups[1][kept]).sum()
    return float(stats.chi2.sf(float(distance), int(kept.sum()) - 1))


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: f"{type(m).__name__} {m}")
def test_draws_have_the_tilted_distribution(machine: Machine) -> None:
    assert fit(machine, 10_000) > 1e-4


def test_beliefs_that_are_a_little_wrong_would_be_seen() -> None:
    expected = torch.full((9,), 4000 / 9).double()
    shifted = expected * (1 + 0.15 * torch.tensor([1.0, -1, 1, -1, 1, -1, 1, -1, 0]))
    assert chi_square(shifted, expected) < 1e-4


def test_draws_of_fifty_patterns_all_match_and_have_the_tilted_distribution() -> None:
    assert len(PATTERNS) == 50
    chances = [
        fit(pattern(text, LETTERS), 1000, seed=k)  # asserts that every draw is a member
        for k, text in enumerate(PATTERNS)
    ]
    assert min(chances) > 1e-4 / len(PATTERNS)
    assert stats.kstest([p for p in chances if p < 1], "uniform").pvalue > 1e-4


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: f"{type(m).__name__} {m}")
def test_an_item_is_drawn_as_if_it_were_alone(machine: Machine) -> None:
    log_q = uneven_beliefs(5, PLACES, 3, seed=2)
    together = sample(machine, log_q, Streams.count(1, 5))
    alone = [sample(machine, log_q[i : i + 1], Streams(1, [i])) for i in range(5)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.slow
def test_37_states_over_256_places_take_less_than_2_seconds() -> None:
    g = torch.Generator().manual_seed(0)
    table = torch.randint(-1, 37, (37, 64), generator=g)
    machine = Deterministic(table, torch.rand(37, generator=g) < 0.3)
    log_q = torch.randn(8, 256, 64, generator=g, dtype=torch.float64)
    start = time.process_time()
    sample(machine, log_q, Streams.count(0, 8))
    assert time.process_time() - start < 2


@pytest.mark.slow
def test_edits_of_300_symbols_in_a_band_of_20_take_less_than_2_seconds() -> None:
    g = torch.Generator().manual_seed(0)
    confusion = torch.rand(64, 64, generator=g, dtype=torch.float64).softmax(dim=1)
    machine = Edits(EditChannel(confusion), torch.randint(0, 64, (300,), generator=g), band=20)
    log_q = torch.randn(8, 300, 64, generator=g, dtype=torch.float64)
    start = time.process_time()
    sample(machine, log_q, Streams.count(0, 8))
    assert time.process_time() - start < 2
