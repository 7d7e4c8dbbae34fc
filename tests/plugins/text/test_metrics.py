"""Metrics: values that can be counted by hand, and agreement with jiwer."""

from __future__ import annotations

import math
import unicodedata
import zlib

import jiwer
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import InvalidOptionError, ShapeError, UnknownNameError
from sfumato_text import metrics
from sfumato_text.alignments import align, distance, pairs
from sfumato_text.compression import bits_per_character
from sfumato_text.files.documents import LOST, codes_of
from sfumato_text.reliability import brier, calibration_error, reliability
from sfumato_text.samples import Corpus, distinct, entropy, repetition, satisfied

WORDS = st.text("ab c", max_size=30)


def plain_distance(a: str, b: str) -> int:
    """By the definition (Wagner & Fischer, 1974)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


@given(WORDS, WORDS)
def test_alignments_cover_both_texts_at_the_least_cost(a: str, b: str) -> None:
    blocks = align(a, b)
    assert "".join(a[k.start : k.end] for k in blocks) == a
    assert "".join(b[k.first : k.last] for k in blocks) == b
    assert all((a[k.start : k.end] == b[k.first : k.last]) == k.same for k in blocks)
    cost = sum(i is None or j is None or a[i] != b[j] for i, j in pairs(a, b))
    assert cost == distance(a, b) == plain_distance(a, b)


@given(st.integers(0, 20), st.data())
def test_long_texts_are_aligned_window_by_window(seed: int, data: st.DataObject) -> None:
    import sfumato_text.alignments as module

    generator = np.random.default_rng(seed)
    a = "".join(generator.choice(list("abcdefgh"), 600))
    b = list(a)
    for k in sorted(generator.choice(600, 12, replace=False), reverse=True):
        b[k : k + 1] = list(data.draw(st.sampled_from(["", "x", "xy"])))
    changed = "".join(b)
    saved = module.WINDOW
    try:
        module.WINDOW = 128
        blocks = align(a, changed)
    finally:
        module.WINDOW = saved
    assert "".join(a[k.start : k.end] for k in blocks) == a
    assert "".join(changed[k.first : k.last] for k in blocks) == changed
    cost = sum(max(k.end - k.start, k.last - k.first) for k in blocks if not k.same)
    assert cost <= distance(a, changed) + 6  # a window's end may cost an edit or so


@given(st.text("ab c", min_size=1, max_size=30).filter(str.strip), WORDS)
def test_rates_agree_with_jiwer(reference: str, estimate: str) -> None:
    assert metrics.character_error_rate(estimate, reference) == pytest.approx(
        plain_distance(estimate, reference) / len(reference)
    )
    assert metrics.word_error_rate(estimate, reference) == pytest.approx(
        jiwer.wer(" ".join(reference.split()), " ".join(estimate.split()))
    )


def test_graphemes_count_letters_with_their_marks_once() -> None:
    reference, estimate = unicodedata.normalize("NFD", "épée"), "epee"
    assert metrics.character_error_rate(estimate, reference) == 2 / 6
    assert metrics.character_error_rate(estimate, reference, by_grapheme=True) == 2 / 4
    assert metrics.character_error_rate("épée", reference, by_grapheme=True) == 0


def test_cleaning_composes_and_collapses() -> None:
    assert metrics.clean(" e\u0301 \n\t a ") == "é a"


def test_corrections_are_accounted_for() -> None:
    reference = "the cat sat on it"
    damaged = "the c4t s4t on it"  # 15 right, 2 wrong
    estimate = "the cat sit on at"  # one repaired, one changed in vain, one spoilt
    assert metrics.cer_reduction(damaged, estimate, reference) == 0
    assert metrics.over_correction(damaged, estimate, reference) == pytest.approx(1 / 15)
    assert metrics.fix_rate(damaged, estimate, reference) == 1
    assert metrics.repair_rate(damaged, estimate, reference) == 0.5


def test_corrections_of_other_lengths_are_accounted_for() -> None:
    reference, damaged, estimate = "abcdef", "abxcde", "abcdef"
    assert metrics.over_correction(damaged, estimate, reference) == 0
    assert metrics.fix_rate(damaged, estimate, reference) == 1
    assert metrics.repair_rate(damaged, estimate, reference) == 1
    assert metrics.cer_reduction(damaged, estimate, reference) == 1


def test_what_has_no_value_is_nan() -> None:
    assert math.isnan(metrics.cer_reduction("a", "b", "a"))
    assert math.isnan(metrics.fix_rate("a", "b", "a"))
    assert math.isnan(metrics.over_correction("a", "b", "b"))
    assert math.isnan(metrics.gap_match([], []))
    assert metrics.character_error_rate("", "") == 0
    assert metrics.character_error_rate("a", "") == math.inf


def test_gaps_are_judged_by_rank() -> None:
    ranked, truths = [["cat", "cot"], ["cot", "cat"], ["dog"]], ["cat", "cat", "cat"]
    assert metrics.gap_match([row[0] for row in ranked], truths) == pytest.approx(1 / 3)
    assert metrics.top_k(ranked, truths, k=2) == pytest.approx(2 / 3)
    assert metrics.reciprocal_rank(ranked, truths) == pytest.approx(0.5)
    with pytest.raises(InvalidOptionError, match="3 answers for 1"):
        metrics.top_k(ranked, ["cat"])


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        (metrics.cer, [0, 2 / 7]),
        (metrics.wer, [0, 0.5]),
        (metrics.characters, [1, 5 / 7]),
        (metrics.exact, [1, 0]),
    ],
)
def test_metrics_of_a_plugin_give_one_value_per_item(metric: object, values: list[float]) -> None:
    reference = codes_of("the cat")
    wrong = reference.clone()
    wrong[1], wrong[2] = LOST, ord("a")
    estimate = torch.stack([reference, wrong])
    found = metric(estimate, torch.stack([reference, reference]))  # type: ignore[operator]
    np.testing.assert_allclose(found, values, rtol=1e-6)
    assert metric(reference, reference).shape == ()  # type: ignore[operator]
    longer = torch.cat([reference, codes_of("s")])
    assert metric(longer[None], reference[None]).shape == (1,)  # type: ignore[operator]


def test_metrics_refuse_what_is_no_text() -> None:
    with pytest.raises(ShapeError):
        metrics.cer(torch.zeros(2, 3, dtype=torch.long), torch.zeros(3, 3, dtype=torch.long))
    with pytest.raises(ShapeError, match="code points"):
        metrics.cer(torch.zeros(3), torch.zeros(3))


def test_calibrated_probabilities_have_a_small_error() -> None:
    generator = np.random.default_rng(0)
    p = generator.uniform(0, 1, 40_000)
    right = generator.uniform(0, 1, 40_000) < p
    # each of 10 bins of 4,000 errs by √(p(1 − p)/4000) ≤ 0.008, by 0.8 of that on average
    assert calibration_error(p, right) < 0.012
    assert calibration_error(np.sqrt(p), right) > 0.1
    assert brier(p, right) == pytest.approx(1 / 6, abs=0.005)


def test_reliability_counts_each_bin() -> None:
    rows = reliability([0.05, 0.95, 1.0, 1.0], [False, True, True, False], bins=10)
    assert [row.size for row in rows] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 3]
    assert rows[9].right == pytest.approx(2 / 3)
    assert rows[9].probability == pytest.approx(2.95 / 3)
    assert math.isnan(rows[4].right)
    with pytest.raises(InvalidOptionError):
        reliability([1.2], [True])


def naive_copied(text: str, corpus: str) -> int:
    return max(
        (j - i for i in range(len(text)) for j in range(i, len(text) + 1) if text[i:j] in corpus),
        default=0,
    )


@given(st.text("ab", max_size=25), st.text("ab", max_size=40))
def test_the_longest_copy_is_found(text: str, corpus: str) -> None:
    found = Corpus(corpus).copied(text)
    assert found in text
    assert found in corpus
    assert len(found) == naive_copied(text, corpus)


def test_variety_is_counted() -> None:
    assert distinct(["abcd", "abcd"], 2) == 0.5
    assert repetition("aaaaa", 2) == 0.75
    assert entropy(["abab"]) == 1
    assert satisfied(["aa", "ab"], lambda text: text == "aa") == 0.5


def test_compressors_are_compared_per_character() -> None:
    text = "In the beginning God created the heaven and the earth. " * 4
    expected = 8 * len(zlib.compress(text.encode(), 9)) / len(text)
    assert bits_per_character(text, "zlib") == expected
    for method in ("bz2", "lzma", "ppmd"):
        alone = bits_per_character(text[:55], method)
        assert 0 <= bits_per_character(text[:55], method, given=text) < alone < 16
    with pytest.raises(UnknownNameError, match="zlib"):
        bits_per_character(text, "zip")
    with pytest.raises(InvalidOptionError, match="empty"):
        bits_per_character("", "zlib")
