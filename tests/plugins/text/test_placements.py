"""Documents as rows of tokens, and rows of tokens as restorations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import InvalidOptionError, ShapeError
from sfumato.signals import Signal
from sfumato_text.channels import uniform
from sfumato_text.files.documents import Document, codes_of
from sfumato_text.files.notations import parse
from sfumato_text.files.reading import decode
from sfumato_text.formats import Text
from sfumato_text.placements import bounded, place
from sfumato_text.tokenisers import Bytes, Characters, Subwords, Tokeniser

LETTERS = Characters(("a", "b", "é", " "))


def leiden(text: str) -> Document:
    path = Path("a.txt")
    return parse(Text().parse(decode(text.encode(), path), path), "leiden", path)


def test_gaps_become_places_of_unknown_tokens() -> None:
    row = place(leiden("ab[...]a[..]"), LETTERS)
    assert row.tokens.tolist() == [0, 1, -1, -1, -1, 0, -1, -1]
    assert row.gaps == ((2, 5), (6, 8))
    sites = row.sites()
    assert sites[0].exp().tolist() == [1, 0, 0, 0]
    assert sites[2].tolist() == [0, 0, 0, 0]


def test_what_was_seen_takes_the_place_of_certainty() -> None:
    row = place(leiden("ab[.]a"), LETTERS)
    seen = uniform(0.2).sites("aba", LETTERS.alphabet)
    sites = row.sites(seen)
    torch.testing.assert_close(sites[[0, 1, 3]], seen)
    assert sites[2].tolist() == [0, 0, 0, 0]
    with pytest.raises(ShapeError, match="3×4"):
        row.sites(seen[:2])


def test_samples_fill_gaps_and_correct_characters() -> None:
    document = leiden("a\u0301b e\u0301[..] ab")
    tokeniser = Characters(("a", "á", "b", "é", " "))
    row = place(document, tokeniser)
    ids = row.tokens.clone()
    ids[ids < 0] = torch.tensor([3, 2])
    ids[1] = 0
    done = row.restoration(ids)
    assert done.text == "a\u0301a e\u0301éb ab"
    kinds = [(c.start, c.end, c.text, c.gap) for c in done.changes]
    assert kinds == [(2, 3, "a", None), (6, 6, "éb", 0)]


def test_characters_come_with_the_probability_of_their_tokens() -> None:
    row = place(leiden("a[..]"), LETTERS)
    ids = torch.tensor([1, 0, 2])
    marginals = torch.tensor([[0.1, 0.9, 0, 0], [0.7, 0.3, 0, 0], [0, 0, 0.6, 0.4]])
    done = row.restoration(ids, marginals=marginals, alternatives=[[("bb", 0.2)]])
    told = {c.text: c.probabilities for c in done.changes}
    assert told["b"] == pytest.approx((0.9,))
    assert told["aé"] == pytest.approx((0.7, 0.6))
    assert done.changes[1].alternatives == (("bb", 0.2),)


def test_gaps_that_are_not_asked_for_are_left() -> None:
    path = Path("a.txt")
    document = parse(Text().parse(decode(b"a--b?", path), path), "ithaca", path)
    row = place(document, LETTERS)
    done = row.restoration(torch.tensor([0, 1, 1, 1, 0]))
    signal = Signal(codes_of(done.text), {"document": document, "restoration": done})
    assert Text().compose(signal) == b"a--ba"


def test_open_gaps_need_a_length() -> None:
    document = leiden("a[---]b[.]")
    with pytest.raises(InvalidOptionError, match="gap 0: it has 1 to any number"):
        place(document, LETTERS)
    assert len(place(document, LETTERS, [4, 1])) == 7
    with pytest.raises(InvalidOptionError, match="1 lengths for 2 gaps"):
        place(document, LETTERS, [4])
    with pytest.raises(ShapeError):
        place(document, LETTERS, [4, 1]).restoration(torch.tensor([0]))


def test_rows_of_characters_become_rows_of_tokens() -> None:
    row = place(leiden("ae\u0301[.]b"), LETTERS)
    assert row.observed == ["a", "é", "b"]
    assert row.per_token(torch.arange(4)).tolist() == [0, 1, 3]
    assert row.sites(uniform(0.1).sites(row.observed, LETTERS.alphabet)).shape == (4, 4)


def test_gaps_have_a_largest_length_or_are_refused() -> None:
    found = bounded(leiden("a[---]b[2-9]c[..]"), 5)
    assert [(gap.minimum, gap.maximum) for gap in found.gaps] == [(1, 5), (2, 5), (2, 2)]
    with pytest.raises(InvalidOptionError, match=r"gap 1, after 'ab': 12 .* more than 5"):
        bounded(leiden("a[.]b[.12.]"), 5)


WORDS = Subwords.train("ab ba a éb aab " * 50, size=270)


@given(
    st.text("abé ", max_size=12), st.lists(st.integers(0, 12), max_size=3),
    st.sampled_from([LETTERS, Characters(("a", "b"), fallback=True), Bytes(), WORDS]),
)  # fmt: skip
def test_what_was_read_comes_back_whatever_fills_the_gaps(
    text: str, starts: list[int], tokeniser: Tokeniser
) -> None:
    from sfumato_text.files.documents import Gap

    gaps = tuple(Gap(start, 2, 2) for start in sorted(min(s, len(text)) for s in starts))
    document = Document(text, gaps)
    row = place(document, tokeniser)
    ids = row.tokens.clone()
    ids[ids < 0] = int(tokeniser.encode("b")[0])
    done = row.restoration(ids)
    assert [c.text for c in done.changes] == ["bb"] * len(gaps)
    expected, last = "", 0
    for gap in gaps:
        expected += text[last : gap.start] + "bb"
        last = gap.start
    assert done.text == expected + text[last:]
