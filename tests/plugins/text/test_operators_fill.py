"""Gaps are filled from the posterior, and nothing else is touched."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
import torch

import sfumato as sf
from sfumato.denoisers.sequential import walk
from sfumato.errors import InvalidOptionError, UnreadableFileError
from sfumato.inverse.tokens.histories import chain_of
from sfumato.token_priors import TokenPrior
from sfumato.token_results import TokenResult
from sfumato_text.files.documents import codes_of, text_of
from sfumato_text.operators import Fill

pytestmark = pytest.mark.usefixtures("small_prior")


def signal(text: str) -> sf.Signal:
    return sf.Signal(codes_of(text))


def filled(prior: TokenPrior, text: str, *, n: int = 2, seed: int = 0, **options: int) -> str:
    return text_of(sf.reconstruct(prior, Fill(**options), signal(text), n=n, seed=seed).estimate)


def log_p(prior: TokenPrior, texts: list[str]) -> torch.Tensor:
    """ln p of whole texts, by the chain rule."""
    chain = chain_of(prior.denoiser)
    assert chain is not None
    rows = [prior.codec.encode(text).numpy() for text in texts]
    return torch.tensor([float(row.sum()) for row in walk(chain, rows)], dtype=torch.float64)


def test_a_gap_gets_what_the_prior_expects(small_prior: TokenPrior) -> None:
    assert filled(small_prior, "the function obj[..]t is call[..] by the method\n") == (
        "the function object is called by the method\n"
    )


@pytest.mark.parametrize(
    ("damaged", "kept"),
    [
        ("[...] object is called", " object is called"),
        ("the object is cal[...]", "the object is cal"),
        ("[..]", ""),
        ("the [...][..] is called", "the  is called"),
        ("fun[..]ion is cal[..] the [......]\n\nmethod", "funion is cal the \n\nmethod"),
    ],
    ids=["at the start", "at the end", "nothing else", "side by side", "several"],
)  # fmt: skip
def test_gaps_may_lie_anywhere_and_what_was_read_stays(
    small_prior: TokenPrior, damaged: str, kept: str
) -> None:
    result = sf.reconstruct(small_prior, Fill(), signal(damaged), n=2)
    lost = damaged.count(".")
    for text in (result.estimate, *result.samples):
        assert len(text) == len(kept) + lost
    altered = result.altered
    assert int(altered.sum()) == lost
    assert text_of(result.estimate[~altered]) == kept
    assert result.confidence[~altered].eq(1).all()


def test_fillings_have_the_posterior_of_the_chain(small_prior: TokenPrior) -> None:
    """The shares of 200 draws of one lost character agree with its enumerated posterior."""
    before, after = "the value of the attri", "ute is"
    alphabet = small_prior.codec.alphabet
    exact = log_p(small_prior, [before + sign + after for sign in alphabet]).softmax(dim=0)
    result = sf.reconstruct(small_prior, Fill(), signal(f"{before}[.]{after}"), n=200)
    drawn = [text_of(x)[len(before)] for x in result.samples]
    for sign, p in zip(alphabet, exact.tolist(), strict=True):
        share, error = drawn.count(sign) / 200, math.sqrt(p * (1 - p) / 200)
        assert abs(share - p) <= 4 * error + 0.01
    place = len(before)
    best = text_of(result.estimate)[place]
    told = float(result.confidence[place])
    assert told == pytest.approx(float(exact[alphabet.index(best)]), abs=0.02)


def test_lengths_are_weighed_by_the_evidence_of_the_whole_window(small_prior: TokenPrior) -> None:
    """p(k) and the readings agree with the sum over all fillings of one and two characters."""
    before, after = "is cal", "ed by the"
    alphabet = small_prior.codec.alphabet
    by_length = [
        log_p(small_prior, [before + "".join(row) + after for row in product(alphabet, repeat=k)])
        for k in (1, 2)
    ]
    evidence = torch.stack([row.logsumexp(dim=0) for row in by_length])
    weight = evidence.softmax(dim=0)
    task = Fill(longest=2)
    result = sf.reconstruct(small_prior, task, signal(f"{before}[---]{after}"), n=4)
    (place,) = result.alternatives
    told = {text_of(x): p for x, p in zip(place.readings, place.probabilities, strict=True)}
    short = sum(p for text, p in told.items() if len(text) == 1)
    assert short == pytest.approx(float(weight[0]), abs=0.02)
    both = float(evidence.logsumexp(dim=0)) - math.log(2)
    assert result.log_evidence == pytest.approx(both, abs=0.05)


def test_samples_of_unknown_length_follow_the_weights_of_the_lengths(
    small_prior: TokenPrior,
) -> None:
    task, damaged = Fill(longest=4, readings=1000), signal("the [---] object")
    result = sf.reconstruct(small_prior, task, damaged, n=200)
    place = result.alternatives[0]
    shares = {
        k: sum(p for x, p in zip(place.readings, place.probabilities, strict=True) if len(x) == k)
        for k in (1, 2, 3, 4)
    }
    known = len("the  object")
    for k, p in shares.items():
        drawn = sum(len(x) - known == k for x in result.samples) / 200
        assert abs(drawn - p) <= 4 * math.sqrt(max(p * (1 - p), 0.01) / 200)


def test_a_sample_depends_on_seed_and_number_only(small_prior: TokenPrior) -> None:
    task, damaged = Fill(longest=4), signal("the func[...] object [---] is call[..]")
    many = sf.reconstruct(small_prior, task, damaged, n=5, seed=3)
    few = sf.reconstruct(small_prior, task, damaged, n=2, seed=3)
    for a, b in zip(few.samples, many.samples, strict=False):
        assert torch.equal(a, b)
    other = sf.reconstruct(small_prior, task, damaged, n=5, seed=4)
    assert any(not torch.equal(a, b) for a, b in zip(many.samples, other.samples, strict=True))
    item = sf.reconstruct(small_prior, task, damaged, n=5, seed=3, first=1)
    assert any(not torch.equal(a, b) for a, b in zip(many.samples, item.samples, strict=True))


def test_gaps_far_from_each_other_are_solved_apart(small_prior: TokenPrior) -> None:
    line = "the value of the attribute is returned when the function is called\n"
    result = sf.reconstruct(
        small_prior, Fill(context=20), signal(f"the va[..]e of\n{line}{line}is cal[..]d by"), n=1
    )
    assert result.record["parts"] == 2
    assert text_of(result.estimate).startswith("the value of\nthe value of the")


def test_readings_are_ranked_and_found_in_the_text(small_prior: TokenPrior) -> None:
    damaged = signal("the object\nis cal[..]d [---] by the method")
    result = sf.reconstruct(small_prior, Fill(longest=5, readings=4), damaged, n=2)
    for place in result.alternatives:
        odds = list(place.probabilities)
        assert odds == sorted(odds, reverse=True)
        assert 1 <= len(odds) <= 4
        assert sum(odds) <= 1 + 1e-9
        assert torch.equal(result.estimate[place.start : place.stop], place.readings[0])
    assert [place.where for place in result.alternatives] == [
        "line 2, column 7", "line 2, column 9",
    ]  # fmt: skip


FILES = {
    "windows line ends": ("a.txt", b"the value of\r\nthe attri[...]e is\r\n"),
    "byte-order mark": ("a.txt", "\ufeffthe value of the attri[...]e is".encode()),
    "utf-16": ("a.txt", "the value of the attri[...]e is\n".encode("utf-16")),
    "no last line end": ("a.md", b"the value of the attri[...]e is"),
    "json lines": ("a.jsonl", b'{"id": 1, "text": "the attri[...]e is"}\n'
                              b'{"text": "is call\\u005b..]d", "x":[1, 2]}\n'),
    "table": ("a.csv", b'id,text\r\n1,"the attri[...]e, is"\r\n2,is call[..]d\r\n'),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_observed_bytes_come_back_as_they_were(
    small_prior: TokenPrior, tmp_path: Path, name: str
) -> None:
    file, data = FILES[name]
    path = tmp_path / file
    path.write_bytes(data)
    plugin = sf.load_plugin("text")
    result = sf.reconstruct(small_prior, Fill(), plugin.read(path), n=1)
    result.save(tmp_path / "out")
    restored = (tmp_path / "out" / f"restored{path.suffix}").read_bytes()
    wide = 2 if name == "utf-16" else 1
    marks = [mark.encode("utf-16-le") if wide == 2 else mark.encode() for mark in ("[...]", "[..]")]
    marks.append(b"\\u005b..]")
    place = 0
    for piece in split(data, marks):
        found = restored.find(piece, place)
        assert found >= place
        assert found - place <= 9 * wide  # a filling with its brackets, which may be escaped
        place = found + len(piece)
    assert place == len(restored)


def split(data: bytes, marks: list[bytes]) -> list[bytes]:
    pieces = [data]
    for mark in marks:
        pieces = [part for piece in pieces for part in piece.split(mark)]
    return pieces


def test_the_rest_of_an_edition_stays_byte_by_byte(small_prior: TokenPrior, tmp_path: Path) -> None:
    text = (
        '<?xml version="1.0"?>\n<TEI  xmlns="http://www.tei-c.org/ns/1.0"><text><body><ab>the attri'
        '<gap reason="lost" quantity="3" unit="character"/>e <!-- kept --><hi>is</hi>'
        "</ab></body></text></TEI>\n"
    )
    path = tmp_path / "a.xml"
    path.write_text(text)
    result = sf.reconstruct(small_prior, Fill(), sf.load_plugin("text").read(path), n=1)
    result.save(tmp_path / "out")
    restored = (tmp_path / "out" / "restored.xml").read_text()
    before, _, after = text.partition('<gap reason="lost" quantity="3" unit="character"/>')
    assert restored.startswith(before + "<supplied")
    assert restored.endswith(after)


def test_records_do_not_see_each_other(small_prior: TokenPrior, tmp_path: Path) -> None:
    """A row of a table is filled as it would be alone."""
    found = []
    for name, rows in (("one", "is cal[..]d\n"), ("two", "the object\nis cal[..]d\n")):
        path = tmp_path / f"{name}.csv"
        path.write_text("text\n" + rows)
        result = sf.reconstruct(small_prior, Fill(), sf.load_plugin("text").read(path), n=1)
        found.append(result.log_evidence)
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_characters_beside_the_alphabet_are_kept_where_the_nearest_is_read(
    small_prior: TokenPrior,
) -> None:
    damaged = signal("the Välue of the attri[...]e is")
    with pytest.raises(InvalidOptionError, match=r"'V' \(U\+0056\) at line 1, column 5"):
        sf.reconstruct(small_prior, Fill(), damaged)
    result = sf.reconstruct(small_prior, Fill(foreign="nearest"), damaged, n=1)
    assert text_of(result.estimate).startswith("the Välue of the attri")


def test_a_window_never_begins_or_ends_inside_a_letter(small_prior: TokenPrior) -> None:
    """Letters with marks lie on both borders of the window of 6 characters."""
    damaged = signal("e\u0301e\u0301e\u0301e\u0301[.]e\u0301e\u0301e\u0301e\u0301")
    for context in (3, 4, 5):
        task = Fill(context=context, foreign="nearest")
        result = sf.reconstruct(small_prior, task, damaged, n=1)
        assert len(result.estimate) == 17


def test_degrading_and_filling_fit_together(small_prior: TokenPrior, corpus: str) -> None:
    clean = signal(corpus[3000:3300])
    task = Fill(share=0.1, span=3, context=30)
    damaged = task.degrade(clean, seed=1)
    assert torch.equal(damaged.data, task.degrade(clean, seed=1).data)
    assert not torch.equal(damaged.data, task.degrade(clean, seed=2).data)
    result = sf.reconstruct(small_prior, task, damaged, n=1)
    assert len(result.estimate) == 300
    assert float((result.estimate == clean.data).double().mean()) > 0.95  # 10 % were lost


WRONG = {
    "no gaps": ("the object", "there are no gaps in it"),
    "bad marker": ("the object\nis [... called", "line 2, column 4"),
    "too long": (f"the [--{500}--] object", "500 characters are lost"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_filled_is_refused_before_any_compute(
    small_prior: TokenPrior, case: str
) -> None:
    text, expected = WRONG[case]
    for call in (Fill().check, lambda s: sf.reconstruct(small_prior, Fill(), s)):
        with pytest.raises((InvalidOptionError, UnreadableFileError), match=expected):
            call(signal(text))


@pytest.mark.parametrize(
    "options",
    [{"notation": "runes"}, {"longest": 0}, {"context": 0}, {"readings": 0}, {"share": 0.0}],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(sf.errors.SfumatoError, match=r"use|Use|did you|choose|known"):
        Fill(**options)  # type: ignore[arg-type]


def test_a_result_keeps_everything_over_a_folder(small_prior: TokenPrior, tmp_path: Path) -> None:
    result = sf.reconstruct(small_prior, Fill(longest=3), signal("is cal[---] by th[.]\n"), n=3)
    again = TokenResult.load(result.save(tmp_path / "out"))
    assert torch.equal(again.estimate, result.estimate)
    assert again.log_evidence == pytest.approx(result.log_evidence, abs=1e-5)
    assert [place.where for place in again.alternatives] == [
        place.where for place in result.alternatives
    ]
