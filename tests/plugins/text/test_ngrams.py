"""N-gram chains: the same numbers as counting by hand, for every context."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
import torch

from sfumato.denoisers.sequential import walk
from sfumato.errors import InvalidOptionError
from sfumato.inverse.tokens.histories import Chained, grouped
from sfumato.inverse.tokens.lattice import Lattice
from sfumato.inverse.tokens.problems import TokenProblem
from sfumato.noise import Streams
from sfumato.processes import Absorbing
from sfumato_text.adaptation import DOUBT, TRUST, adapted, predicted
from sfumato_text.backbones.counts import Counts
from sfumato_text.contexts import LETTERS as MOST
from sfumato_text.contexts import Sorted, orders
from sfumato_text.counting import counted_model
from sfumato_text.discounts import Discounts
from sfumato_text.ngrams import NGrams

ORDER, LETTERS = 6, "ab\n"
RNG = np.random.default_rng(0)
TEXT = RNG.integers(0, 3, 300)
TEXT[200:260] = TEXT[50:110]
MODEL = NGrams(TEXT, LETTERS, Discounts.start(ORDER))
CIRCLE = [*TEXT[-ORDER - 1 :].tolist(), *TEXT.tolist()]


def by_hand() -> tuple[list[dict], list[dict]]:  # type: ignore[type-arg]
    """Counts, and sets of letters before, of every context of every order."""
    counts = [defaultdict(Counter) for _ in range(ORDER + 1)]
    before = [defaultdict(lambda: defaultdict(set)) for _ in range(ORDER + 1)]
    for place in range(len(TEXT)):
        at = place + ORDER + 1
        for n in range(ORDER + 1):
            context = tuple(CIRCLE[at - n : at])
            counts[n][context][CIRCLE[at]] += 1
            before[n][context][CIRCLE[at]].add(CIRCLE[at - n - 1])
    return counts, before  # type: ignore[return-value]


COUNTS, BEFORE = by_hand()


def expected(context: tuple[int, ...]) -> np.ndarray:
    """p(v | context) by the recursion of the module's docstring."""
    n, K = len(context), len(LETTERS)
    shorter = np.full(K, 1 / K) if n == 0 else expected(context[1:])
    if context not in COUNTS[n]:
        return shorter
    seen = COUNTS[n][context]
    d = np.array([
        0 if not seen[v] else seen[v] if n == ORDER else len(BEFORE[n][context][v])
        for v in range(K)
    ])  # fmt: skip
    discount = np.array([0, 0.75, 1.2, 1.5, 1.5])[np.minimum(d, 4)]
    return (d - discount) / d.sum() + discount.sum() / d.sum() * shorter


def test_every_history_is_continued_as_the_recursion_says() -> None:
    state, history = np.array([0]), []
    for _ in range(600):
        probs, following = MODEL.follow(state)
        np.testing.assert_allclose(probs[0], expected(tuple(history[-ORDER:])), atol=2e-6)
        # mostly as the text goes on, so that single contexts are visited
        letter = int(RNG.integers(3)) if RNG.random() < 0.3 else int(probs[0].argmax())
        history.append(letter)
        state = following[:, letter]
    assert probs.sum() == pytest.approx(1, abs=1e-6)


def test_repeated_contexts_and_their_arcs_are_all_there() -> None:
    for n, order in enumerate(orders(Sorted.of(TEXT, ORDER))):
        repeated = {c for c, seen in COUNTS[n].items() if sum(seen.values()) > 1}
        assert len(order.sizes) == len(repeated)
        for place in range(len(TEXT)):
            at = place + ORDER + 1
            context, node = tuple(CIRCLE[at - n : at]), order.node_at[place]
            assert (node >= 0) == (context in repeated)
            if node >= 0:
                arcs = slice(order.start[node], order.start[node + 1])
                found = dict(zip(order.letter[arcs], order.count[arcs], strict=True))
                assert found == dict(COUNTS[n][context])


def test_coarse_states_are_the_last_two_letters_and_their_frequencies() -> None:
    state = np.array([0])
    for letter in (0, 1, 0, 0, 2, 1):
        state = MODEL.follow(state)[1][:, letter]
    (coarse,) = MODEL.coarsen(state)
    seen = COUNTS[2][2, 1]
    share = np.array([seen[v] for v in range(3)]) / sum(seen.values())
    assert np.abs(MODEL.coarse.probs[coarse] - share).max() < 5 / sum(seen.values())
    following = MODEL.follow(state)[1][0]
    assert MODEL.coarsen(following).tolist() == MODEL.coarse.follow[coarse].tolist()


def test_a_lattice_over_n_grams_finds_what_enumeration_finds() -> None:
    sites = torch.zeros(1, 8, 3, dtype=torch.float64)
    sites[0, :2] = sites[0, 6:] = -torch.inf
    for place, letter in ((0, 0), (1, 1), (6, 0), (7, 1)):
        sites[0, place, letter] = 0
    rows = [
        np.array([0, 1, *middle, 0, 1]) for middle in np.ndindex(3, 3, 3, 3)
    ]  # fmt: skip
    logs = np.array([row.sum() for row in walk(MODEL, rows)])
    problem = TokenProblem(Chained(Absorbing(3), MODEL), sites)
    found = Lattice(beam=500, floor=0)(problem, Streams.count(0, 1))
    assert float(found.log_evidence) == pytest.approx(np.logaddexp.reduce(logs), abs=1e-9)
    groups = grouped(sites, torch.ones(1, 8, dtype=torch.bool))
    best = Lattice(beam=500, floor=0).solve(problem, groups)[0].best[0]
    assert best.tolist() == rows[logs.argmax()].tolist()


def test_fitted_discounts_beat_the_start_and_say_by_how_much() -> None:
    words = ["abba", "baab", "aab", "bb"]
    lines = ["".join(words[i] for i in RNG.integers(0, 4, 12)) + "\n" for _ in range(120)]
    text, held_out = "".join(lines[:80]), lines[80:]
    fitted, bits = counted_model(text, held_out, LETTERS, order=ORDER)
    plain = NGrams(fitted.text, LETTERS, Discounts.start(ORDER))
    count = sum(map(len, held_out))

    def score(model: NGrams) -> float:
        logs = walk(model, [model.encode(line) for line in held_out])
        return float(-sum(row.sum() for row in logs) / count / np.log(2))

    assert score(fitted) < score(plain)
    # the fit begins each text after a line's end, the walk half anywhere: at most a bit each
    assert score(fitted) == pytest.approx(bits, abs=len(held_out) / count)


def test_counts_come_back_from_their_tensors() -> None:
    kept = Counts.of(MODEL)
    again = Counts(**kept.options)
    again.load_state_dict(kept.state_dict())
    rows = [TEXT[20:60]]
    np.testing.assert_allclose(walk(again.model, rows)[0], walk(MODEL, rows)[0], atol=1e-9)


def test_letters_that_the_alphabet_lacks_are_named() -> None:
    with pytest.raises(InvalidOptionError, match=r"\['é'\]"):
        MODEL.encode("abé")


@pytest.mark.parametrize("order", [0, 21])
def test_orders_that_keys_cannot_hold_are_refused(order: int) -> None:
    with pytest.raises(InvalidOptionError, match="orders up to 20"):
        Sorted.of(TEXT, order)


@pytest.mark.parametrize("n", [0, 1, 2, 4, ORDER])
def test_a_context_that_is_cut_is_that_of_its_last_letters(n: int) -> None:
    state, row = np.array([MODEL.initial()[0][1]]), [2, *TEXT[100:140].tolist(), 0, 0, 1, 1, 0]
    for at, letter in enumerate(row[1:], 1):
        probs = MODEL.follow(MODEL.cut(state, n))[0][0]
        np.testing.assert_allclose(probs, expected(tuple(row[max(0, at - n) : at])), atol=1e-6)
        state = MODEL.follow(state)[1][:, letter]


def test_long_contexts_are_trusted_in_texts_like_the_counted_and_not_in_others() -> None:
    like, other = TEXT[190:270], np.random.default_rng(9).integers(0, 2, 80)
    own, foreign = (adapted(MODEL, [row]) for row in (like, other))
    assert own.shares[ORDER] > 0.9
    assert foreign.shares[ORDER] < 0.85
    for row in (like, other):
        plain, ours = (
            walk(chain, [row])[0].sum() for chain in (MODEL, adapted(MODEL, [row]))
        )  # fmt: skip
        assert ours > plain - 1
    states = np.array([MODEL.initial()[0][1], -1])
    assert foreign.follow(states)[0].sum(axis=1) == pytest.approx(1)
    assert foreign.coarse.probs.sum(axis=1) == pytest.approx(1)


def test_the_shares_are_those_that_predict_the_known_letters_best() -> None:
    rows = list(np.random.default_rng(9).integers(0, 2, (40, 10)))
    lengths = [0, 2, 4, ORDER]
    chances = predicted(MODEL, rows, lengths)
    prior = np.array([DOUBT, DOUBT, DOUBT, TRUST])

    def score(share: np.ndarray) -> float:
        return float(np.log(share @ chances).sum() + prior @ np.log(share))

    found = adapted(MODEL, rows).shares
    share = np.array([max(found.get(n, 0.0), 1e-3) for n in lengths])
    for n in range(len(lengths)):
        moved = 0.95 * share + 0.05 * np.eye(len(lengths))[n]
        assert score(moved) < score(share) + 0.05


@pytest.mark.parametrize("letters", [2, 63, 65, 3000, MOST])
def test_contexts_of_any_alphabet_are_sorted_and_compared(letters: int) -> None:
    # five words of close and of distant letters, so that contexts agree in part
    rng, order = np.random.default_rng(letters), 9
    words = np.minimum(rng.integers(0, letters, (5, 4)) | rng.integers(0, 2, (5, 4)), letters - 1)
    words[0, 0] = letters - 1
    text = words[rng.integers(0, 5, 60)].ravel()
    found = Sorted.of(text, order)
    rows = [tuple(np.roll(text, -at)[-order:][::-1].tolist()) for at in found.places]
    assert rows == sorted(rows)
    assert sorted(found.places.tolist()) == list(range(len(text)))
    for above, row, common in zip(rows, rows[1:], found.common[1:], strict=False):
        unlike = [k for k in range(order) if above[k] != row[k]]
        assert common == min(unlike, default=order)


def test_more_letters_than_counts_hold_are_refused() -> None:
    with pytest.raises(InvalidOptionError, match="at most 65536 different letters"):
        Sorted.of(np.array([0, MOST, 1]), 2)


@pytest.mark.parametrize("letters", [63, 200, 3000])
def test_counts_hold_alphabets_of_any_size(letters: int) -> None:
    rng = np.random.default_rng(letters)
    words = rng.integers(0, letters, (40, 6))
    text = words[rng.integers(0, 40, 800)].ravel()
    alphabet = "".join(chr(0x4E00 + v) for v in range(letters))
    model = NGrams(text, alphabet, Discounts.start(12))
    kept = Counts(alphabet, 12, len(Counts.of(model).packed))
    kept.load_state_dict(Counts.of(model).state_dict())
    assert np.array_equal(kept.model.text, text)
    state = np.array([0])
    for letter in words[7][:4]:
        state = kept.model.follow(state)[1][:, letter]
    probs, _ = kept.model.follow(state)
    assert probs.sum() == pytest.approx(1)
    assert probs[0].argmax() == words[7][4]
    assert probs[0, words[7][4]] > 0.9
