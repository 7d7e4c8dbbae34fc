"""Channels: rows are probabilities, noise has them, estimation finds them again."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import InvalidOptionError, UnknownNameError, UnreadableFileError
from sfumato.factors import Edits, weigh
from sfumato.noise import Streams
from sfumato_text.channels import CHANNELS, Channel, load, ocr, typo, uniform
from sfumato_text.confidences import Calibration, alternatives, soft_sites
from sfumato_text.estimation import estimate, refine
from sfumato_text.expected import Expectation, forward, regions
from sfumato_text.files.documents import Document, Slot, Source, Variant

TEXT = "in the beginning god created the heaven and the earth. " * 200
SKEWED = Channel(
    "skewed",
    0.1,
    {"e": 0.3, "t": 0.02},
    {"e": {"c": 0.8, "o": 0.1}, "n": {"u": 1.0}},
    untouched=".",
)


@pytest.mark.parametrize(
    "channel", [uniform(0.2), typo(0.1), ocr(0.1), SKEWED], ids=lambda c: c.name
)
def test_rows_are_probabilities_with_the_stated_error_rate(channel: Channel) -> None:
    alphabet = sorted({*"abcdefghijklmnopqrstuvwxyz .\n"})
    table = channel.table(alphabet, [*alphabet, "§"])
    torch.testing.assert_close(table.sum(dim=1), torch.ones(len(alphabet), dtype=torch.float64))
    assert float(table.min()) >= 0
    for row, x in zip(table, alphabet, strict=True):
        error = 0.0 if x in channel.untouched else channel.rates.get(x, channel.rate)
        assert 1 - float(row[alphabet.index(x)]) == pytest.approx(error)
    for x in channel.untouched:
        assert float(table[:, alphabet.index(x)].sum()) == 1  # only it is read as itself


def test_shares_of_confusions_are_shares_of_errors() -> None:
    alphabet = ["e", "c", "o", "x", "y"]
    row = SKEWED.table(alphabet)[0]
    np.testing.assert_allclose(row, [0.7, 0.3 * 0.825, 0.3 * 0.125, 0.3 * 0.025, 0.3 * 0.025])


def test_noise_has_the_frequencies_of_the_table() -> None:
    noisy = SKEWED.degrade(TEXT, Streams.count(0, 1))
    alphabet = list(SKEWED.symbols(sorted(set(TEXT)), SKEWED.made_of(TEXT)))
    table = SKEWED.table(alphabet)
    for x in "e.":
        seen = Counter(b for a, b in zip(TEXT, noisy, strict=True) if a == x)
        n = seen.total()
        for y, p in zip(alphabet, table[alphabet.index(x)].tolist(), strict=True):
            # 5 standard deviations: chance fails once in two million
            assert abs(seen[y] - n * p) <= 5 * math.sqrt(n * p * (1 - p)) + 1e-9


def test_losses_and_insertions_have_their_rates() -> None:
    channel = uniform(0.0, lost=0.1, inserted=0.05)
    noisy = channel.degrade("a" * 5000 + "\n" * 500, Streams.count(1, 1), alphabet="ab\n")
    assert noisy.count("\n") == 500
    n = 5000
    expected = n * 0.9 + 5501 * 0.05 / 0.95
    spread = math.sqrt(n * 0.09 + 5501 * 0.05 / 0.95**2)
    assert abs(len(noisy) - 500 - expected) < 5 * spread


def test_single_characters_are_lost_at_rates_of_their_own(tmp_path: Path) -> None:
    channel = Channel("x", 0.0, lost=0.05, losses={" ": 0.4, "a": 0.0}, untouched=".")
    read = load(channel.save(tmp_path / "x.json")).degrade(TEXT, Streams.count(0, 1))
    for sign, chance in ((" ", 0.4), ("a", 0.0), ("e", 0.05), (".", 0.0)):
        n = TEXT.count(sign)
        spread = 5 * math.sqrt(chance * (1 - chance) * n)
        assert read.count(sign) == pytest.approx((1 - chance) * n, abs=spread)
    assert Channel("x", 0.0, losses={"a": 0.1}).edits
    with pytest.raises(InvalidOptionError, match="loss of 'a'"):
        Channel("x", losses={"a": 1.0})
    assert not estimate([("abc", "abbc")]).losses
    found = estimate([("thecat sat", "the cat sat"), ("onthe mat", "on the mat")] * 20, losses=True)
    assert found.losses[" "] > 0.3 > found.losses["t"]


def test_noise_depends_on_its_stream_only() -> None:
    one = ocr(0.2).degrade(TEXT, Streams.count(3, 1))
    assert ocr(0.2).degrade(TEXT, Streams.count(3, 1)) == one
    assert ocr(0.2).degrade(TEXT, Streams.count(4, 1)) != one


def test_sites_are_columns_of_the_table_and_strange_signs_exclude_nothing() -> None:
    alphabet = ["a", "b", "c"]
    channel = Channel(rate=0.2, confusions={"a": {"b": 1.0}})
    sites = channel.sites("b§", alphabet).exp()
    table = channel.table(alphabet, ["a", "b", "c", "§"])
    torch.testing.assert_close(sites[0], table[:, 1])
    torch.testing.assert_close(sites[1], table[:, 3])
    assert float(sites[1, 1]) > 0


def test_a_machine_of_edits_weighs_what_the_channel_makes() -> None:
    channel = Channel(rate=0.2, lost=0.1, inserted=0.1, letters={"c": 0.5})
    alphabet = ["a", "b", "c"]
    edits = channel.edit_channel(alphabet)
    y = torch.tensor([0, 2])
    total = weigh(Edits(edits, y), torch.tensor([[0], [1]])).exp()
    # x = a, y = ac: a read and c put in after, or put in before and a read as c, or a lost
    table, stop = channel.table(alphabet), 0.9
    r = edits.frequencies
    put = 0.1 * r
    for row, v in ((0, 0), (1, 1)):
        read_first = 0.9 * table[v, 0] * put[2]
        read_second = put[0] * 0.9 * table[v, 2]
        neither = 0.1 * put[0] * put[2] * 3
        assert float(total[row]) == pytest.approx(
            float(stop**2 * (read_first + read_second + neither)), rel=1e-9
        )


@pytest.mark.parametrize("name", CHANNELS)
def test_channels_survive_json(tmp_path: Path, name: str) -> None:
    channel = CHANNELS[name](0.1, lost=0.02)
    assert load(channel.save(tmp_path / "channel.json")).to_dict() == channel.to_dict()
    assert load(name).name == name


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"rate": 0.1,}', "line 1, column 14"),
        ('{"rat": 0.1}', "'rat', which no channel has"),
        ('{"rate": 1.5}', "rate is 1.5"),
        ('{"confusions": 3}', "holds no channel"),
    ],
)
def test_a_damaged_channel_is_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "channel.json"
    path.write_text(content)
    with pytest.raises((UnreadableFileError, InvalidOptionError)) as caught:
        load(path)
    assert says in str(caught.value)


def test_a_channel_that_is_neither_name_nor_file_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="typo"):
        load("tipo")


@pytest.mark.parametrize(
    "options",
    [{"rate": -0.1}, {"lost": 1.0}, {"confusions": {"a": {"b": 0.7, "c": 0.7}}},
     {"confusions": {"a": {"a": 0.5}}}, {"letters": {"a": -0.1}}],
)  # fmt: skip
def test_what_is_no_channel_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidOptionError):
        Channel(**options)  # type: ignore[arg-type]


def test_estimation_finds_a_substitution_channel() -> None:
    noisy = SKEWED.degrade(TEXT, Streams.count(2, 1))
    found = estimate([(noisy, TEXT)], base=Channel(untouched="."))
    alphabet = sorted({*TEXT, *"cou"})
    true, guess = SKEWED.table(alphabet), found.table(alphabet)
    counts = Counter(TEXT)
    for x in "ent ":
        n = counts[x]
        p = true[alphabet.index(x)]
        bound = 5 * (p * (1 - p) / n).sqrt() + 10 / n  # chance, and the smoothing
        assert bool(((guess[alphabet.index(x)] - p).abs() <= bound).all()), x
    assert not found.edits


def test_estimation_finds_losses_and_insertions() -> None:
    channel = Channel(rate=0.05, lost=0.03, inserted=0.03)
    lines = [TEXT[k : k + 200] for k in range(0, 10_000, 200)]
    pairs = [
        (channel.degrade(line, Streams.count(k, 1), alphabet=sorted(set(TEXT))), line)
        for k, line in enumerate(lines)
    ]
    n = 10_000
    found, greedy = estimate(pairs), estimate(pairs, rounds=0)
    # 4 standard deviations; what an alignment leaves open adds to them
    for name in ("rate", "lost", "inserted"):
        true = getattr(channel, name)
        assert getattr(found, name) == pytest.approx(true, abs=4 * math.sqrt(1.5 * true / n))
    # the fewest edits take some losses beside insertions for substitutions
    assert greedy.lost + greedy.inserted < found.lost + found.inserted


@given(st.text("abc", max_size=5), st.text("abcd", max_size=5))
def test_expected_edits_are_those_of_the_exact_machine(clean: str, noisy: str) -> None:
    channel = Channel(
        rate=0.2, lost=0.1, inserted=0.15, letters={"d": 0.4}, confusions={"a": {"b": 0.6}}
    )
    signs = ["a", "b", "c", "d"]
    weigher = Expectation(channel, signs)
    edits = weigher.edits(clean, noisy)
    assert edits is not None
    np.testing.assert_allclose(edits.read.sum(axis=1) + edits.lost, 1)  # every x was read or lost
    np.testing.assert_allclose(edits.read.sum(axis=0) + edits.inserted, 1)  # every y has a cause
    x, y = ([signs.index(sign) for sign in text] for text in (clean, noisy))
    total = forward(
        weigher.go_on * weigher.read[x][:, y], weigher.go_on * weigher.lost[x], weigher.inserted[y]
    )[-1, -1]
    machine = Edits(channel.edit_channel(signs), torch.tensor(y, dtype=torch.long))
    exact = weigh(machine, torch.tensor([x], dtype=torch.long)).exp()
    assert total * weigher.go_on == pytest.approx(float(exact), rel=1e-9)


@given(st.text("ab", max_size=30), st.text("ab", max_size=30))
def test_regions_cover_both_texts(clean: str, noisy: str) -> None:
    found = list(regions(clean, noisy))
    assert "".join(clean[b.start : b.end] for b in found) == clean
    assert "".join(noisy[b.first : b.last] for b in found) == noisy
    assert all(clean[b.start : b.end] == noisy[b.first : b.last] for b in found if b.same)


def test_nothing_that_was_not_seen_is_impossible() -> None:
    found = estimate([("abab", "abab")])
    assert 0 < found.rate < 1
    table = found.table(["a", "b", "c"])
    assert float(table.min()) > 0


def test_smoothing_keeps_to_the_base_where_little_was_seen() -> None:
    base = ocr(0.1)
    found = estimate([("e", "e"), ("x", "q")], base=base, strength=50)
    assert found.confusions["e"]["c"] == pytest.approx(base.confusions["e"]["c"])
    assert found.confusions["l"] == base.confusions["l"]


def test_pairs_of_unequal_length_need_edits() -> None:
    with pytest.raises(InvalidOptionError, match="pair 1 has 1 noisy, 2 clean"):
        estimate([("a", "a"), ("a", "ab")], edits=False)
    with pytest.raises(InvalidOptionError, match="no pairs"):
        estimate([])


def test_refining_with_an_exact_posterior_finds_the_rate() -> None:
    n, truth = 20_000, 0.15
    clean = "a" * n
    noisy = uniform(truth).degrade(clean, Streams.count(5, 1), alphabet="ab")

    def draw(channel: Channel) -> list[tuple[str, str]]:
        return [(noisy, clean)]  # this prior knows that every text is aaa…

    found = refine(draw, uniform(0.01), rounds=2, strength=1)
    assert found.rates["a"] == pytest.approx(truth, abs=5 * math.sqrt(truth / n) + 1e-3)


def document(**options: object) -> Document:
    slot = Slot(0, np.array([[0, 1], [1, 2]]))
    return Document("ab\n", slots=(slot,), source=Source("ab\n"), **options)  # type: ignore[arg-type]


def test_confidence_moves_the_chance_of_error_and_blanks_between_lines_are_certain() -> None:
    confidence = np.array([0.9, np.nan, np.nan])
    sites = soft_sites(document(confidence=confidence), "abc\n", uniform(0.04)).exp()
    error = 1 - sites[torch.arange(3), torch.tensor([0, 1, 3])]
    np.testing.assert_allclose(error, [math.sqrt(0.04 * 0.1), 0.04, 0], atol=1e-12)
    assert sites[2].tolist() == [0, 0, 0, 1]
    assert float(sites[:2, 3].max()) == 0  # a line end is never read as a letter


def test_without_trust_confidences_change_nothing() -> None:
    told = document(confidence=np.array([0.2, 0.99, np.nan]))
    channel = ocr(0.05)
    sites = soft_sites(told, "abc\n", channel, trust=0.0)
    torch.testing.assert_close(sites[:2], channel.sites("ab", "abc\n"))


def test_other_readings_take_their_share_of_the_errors() -> None:
    variants = (Variant(0, 1, "c", 0.3), Variant(0, 2, "cb", 0.1), Variant(1, 2, "xy", 0.5))
    told = document(variants=variants)
    heard = alternatives(told, {sign: k for k, sign in enumerate("abc\n")})
    np.testing.assert_allclose(heard, [[0, 0, 0.4, 0], [0] * 4, [0] * 4])
    without = soft_sites(told, "abc\n", uniform(0.1), other=0.0).exp()
    sites = soft_sites(told, "abc\n", uniform(0.1), other=0.5).exp()
    assert float(sites[0, 2]) == pytest.approx(0.5 * float(without[0, 2]) + 0.5 * 0.1)
    torch.testing.assert_close(sites[1], without[1])


def test_shares_of_trust_are_checked() -> None:
    with pytest.raises(InvalidOptionError, match="trust=2"):
        soft_sites(document(), "ab", uniform(), trust=2)


@given(st.text("abc", min_size=1, max_size=30), st.floats(0, 0.9), st.integers(0, 99))
def test_substitutions_keep_the_length(text: str, rate: float, seed: int) -> None:
    assert len(uniform(rate).degrade(text, Streams.count(seed, 1))) == len(text)
    if rate == 0:
        assert uniform(0).degrade(text, Streams.count(seed, 1)) == text


def test_the_description_of_a_channel_is_plain_json() -> None:
    assert json.loads(json.dumps(typo().to_dict())) == typo().to_dict()


def test_calibration_finds_what_confidences_are_worth() -> None:
    generator = np.random.default_rng(0)
    told = generator.uniform(0.05, 0.95, 20_000)
    worth = 1 / (1 + np.exp(-(0.7 + 0.5 * np.log(told / (1 - told)))))
    right = generator.uniform(0, 1, len(told)) < worth
    found = Calibration.fit([*told, math.nan], [*right, False])
    # standard errors of both are about 0.017 at this size
    assert found.intercept == pytest.approx(0.7, abs=0.09)
    assert found.slope == pytest.approx(0.5, abs=0.09)
    calibrated = found(document(confidence=np.array([0.5, np.nan, np.nan])))
    assert calibrated.confidence is not None
    assert calibrated.confidence[0] == pytest.approx(1 / (1 + math.exp(-found.intercept)))
    assert np.isnan(calibrated.confidence[1])


def test_calibration_stays_where_it_was_without_evidence() -> None:
    found = Calibration.fit([0.5], [True], weight=1e6)
    assert (found.intercept, found.slope) == pytest.approx((0, 1), abs=1e-3)
    sure = Calibration.fit([0.9] * 1000, [True] * 1000)
    assert math.isfinite(sure.intercept)
    with pytest.raises(InvalidOptionError):
        Calibration.fit([math.nan], [True])
    assert Calibration()(document()).confidence is None


def test_calibration_survives_its_file_and_other_files_are_refused(tmp_path: Path) -> None:
    made = Calibration(0.3, 0.7)
    assert Calibration.load(made.save(tmp_path / "c.json")) == made
    (tmp_path / "bad.json").write_text("{}")
    for name in ("bad.json", "none.json"):
        with pytest.raises(UnreadableFileError, match=name):
            Calibration.load(tmp_path / name)
