"""Channels that keep places, and channels that do not."""

from __future__ import annotations

import functools
import itertools
import math

import pytest
import torch

from sfumato.errors import InvalidOptionError
from sfumato.factors import EditChannel, Edits, Memoryless, weigh
from sfumato.noise import Streams
from sfumato.testing import check_machine
from sfumato.testing.machines import every_row, uneven_beliefs

CHANNEL = EditChannel(
    torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.3, 0.4]]),
    lost=torch.tensor([0.1, 0.3, 0.05]),
    inserted=0.15,
    letters=torch.tensor([0.5, 0.5, 0.0]),
)
SEEN = [0, 1, 1, 0, 2]


def chance(
    x: tuple[int, ...], y: list[int], channel: EditChannel = CHANNEL, band: int | None = None
) -> float:
    """p(y | x), one path after the other: how many symbols come before each token, and its fate."""
    letters, lost = channel.frequencies.tolist(), channel.losses.tolist()
    stop = 1 - channel.inserted

    def inserted(first: int, last: int) -> float:
        return math.prod(channel.inserted * letters[c] for c in y[first:last]) * stop

    @functools.cache
    def paths(i: int, j: int) -> float:
        if band is not None and abs(i - j) > band:
            return 0.0
        if i == len(x):
            return inserted(j, len(y))
        total = 0.0
        for k in range(j, len(y) + 1):
            total += inserted(j, k) * lost[x[i]] * paths(i + 1, k)
            if k < len(y):
                read = (1 - lost[x[i]]) * float(channel.confusion[x[i], y[k]])
                total += inserted(j, k) * read * paths(i + 1, k + 1)
        return total

    return paths(0, 0)


def filled(x: tuple[int, ...], band: int | None = None) -> float:
    """The same where token 2 ends the text."""
    cut = x.index(2) if 2 in x else len(x)
    if any(token != 2 for token in x[cut:]):
        return 0.0
    return chance(x[:cut], SEEN, band=band)


def test_sites_keep_the_laws() -> None:
    table = uneven_beliefs(1, 4, 3, seed=5)[0]
    table[2, 1] = -torch.inf

    def phi(x: tuple[int, ...]) -> float:
        return math.exp(sum(float(table[i, v]) for i, v in enumerate(x)))

    check_machine(Memoryless(table), phi, 4, single=True)


@pytest.mark.parametrize("places", [0, 1, 4, 6])
@pytest.mark.parametrize("band", [None, 0, 2])
def test_edits_sum_over_all_paths(places: int, band: int | None) -> None:
    machine = Edits(CHANNEL, torch.tensor(SEEN), band=band)
    check_machine(machine, lambda x: chance(x, SEEN, band=band), places)


@pytest.mark.parametrize("band", [None, 1])
def test_edits_of_a_text_of_unknown_length_sum_over_all_paths(band: int | None) -> None:
    machine = Edits(CHANNEL, torch.tensor(SEEN), end=2, band=band)
    check_machine(machine, lambda x: filled(x, band), 5)


def test_a_text_of_which_nothing_was_seen_was_lost() -> None:
    machine = Edits(CHANNEL, torch.zeros(0, dtype=torch.long), band=1)
    check_machine(machine, lambda x: chance(x, [], band=1), 3)


@pytest.mark.parametrize(("lost", "inserted"), [(0.0, 0.0), (1.0, 0.3), (0.2, 0.0), (0.0, 0.3)])
def test_chances_of_0_and_1_are_no_special_case(lost: float, inserted: float) -> None:
    channel = EditChannel(CHANNEL.confusion, lost, inserted)
    machine = Edits(channel, torch.tensor([0, 1, 1]))
    check_machine(machine, lambda x: chance(x, [0, 1, 1], channel), 3)


def test_a_wide_band_excludes_nothing() -> None:
    whole, banded = (Edits(CHANNEL, torch.tensor(SEEN), band=band) for band in (None, 5))
    x = every_row(3, 4)
    torch.testing.assert_close(weigh(banded, x), weigh(whole, x), rtol=1e-12, atol=0)


@pytest.mark.parametrize("band", [None, 2])
def test_places_may_say_themselves_what_they_are_read_from(band: int | None) -> None:
    """As if every place of what was seen had a symbol of its own."""
    rest = torch.tensor([[0.1, 0.05, 0.2, 0.15, 0.3], [0.2, 0.1, 0.0, 0.3, 0.1], [0.1] * 5])
    put = torch.tensor([0.1, 0.3, 0.2, 0.0, 0.1])
    own = EditChannel(
        torch.cat([rest, 1 - rest.sum(dim=1, keepdim=True)], dim=1),
        lost=CHANNEL.lost, inserted=CHANNEL.inserted,
        letters=torch.cat([put, 1 - put.sum(dim=0, keepdim=True)]),
    )  # fmt: skip
    machine = Edits(CHANNEL, torch.tensor(SEEN), band=band, reads=rest, inserts=put)
    check_machine(machine, lambda x: chance(x, list(range(5)), own, band), 4)


@pytest.mark.parametrize("told", [{"reads": -torch.ones(3, 5)}, {"inserts": -torch.ones(5)}])
def test_places_that_say_no_chances_are_refused(told: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InvalidOptionError, match=next(iter(told))):
        Edits(CHANNEL, torch.tensor(SEEN), **told)


def test_chances_of_all_that_may_be_seen_sum_to_1() -> None:
    channel = EditChannel(CHANNEL.confusion, 0.2, 0.1)
    x = torch.tensor([[0, 2]])
    seen = [list(y) for n in range(6) for y in itertools.product(range(3), repeat=n)]
    total = sum(float(weigh(Edits(channel, torch.tensor(y).long()), x).exp()) for y in seen)
    # of 6 symbols or more at least 4 are insertions, in 3 gaps: Σ_{n ≥ 4} C(n + 2, 2) 0.9³ 0.1ⁿ
    assert 1 - 15 * 0.1**4 < total < 1


def test_what_is_drawn_has_the_chances_that_the_machine_says() -> None:
    n, x = 10_000, (0, 1)
    drawn = CHANNEL.corrupt(torch.tensor([x] * n), Streams.count(0, n))
    for y in ([0, 1], [1], [], [0, 1, 1]):
        p = chance(x, y)
        five_errors = 5 * math.sqrt(p * (1 - p) / n)
        assert sum(text == y for text in drawn) / n == pytest.approx(p, abs=five_errors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"confusion": torch.eye(3) * 0.9}, "confusions of token 0 sum to 0.9"),
        ({"lost": 1.5}, "chance of loss 1.5"),
        ({"inserted": 1.0}, "chance of insertion 1"),
        ({"letters": torch.tensor([0.5, 0.4, 0.0])}, "inserted letters sum to 0.9"),
    ],
)
def test_chances_that_are_none_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidOptionError, match=message):
        EditChannel(**{"confusion": torch.eye(3), **changes})  # type: ignore[arg-type]


def test_symbols_that_the_channel_lacks_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="number them from 0 to 2"):
        Edits(CHANNEL, torch.tensor([0, 3]))
