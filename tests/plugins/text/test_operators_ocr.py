"""Pages that a machine has read: line ends, divided words, lost and surplus characters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import sfumato as sf
from sfumato.token_priors import TokenPrior
from sfumato_text.files.documents import (
    Document,
    Variant,
    codes_of,
    document_of,
    signal_of,
    text_of,
)
from sfumato_text.operators import DenoiseOCR
from sfumato_text.operators.running import BREAK, runs
from sfumato_text.operators.votes import votes

CLEAN = "the function object is called by the method of the class"
TASK = DenoiseOCR(rate=0.03, lost=0.02, inserted=0.02)


def restored(prior: TokenPrior, text: str, task: DenoiseOCR = TASK) -> str:
    return text_of(sf.reconstruct(prior, task, signal_of(Document(text)), n=1).estimate)


@pytest.mark.parametrize(
    "read",
    [
        "the functon object is cal1led\nby the methd of the class",
        "the func-\ntlon object is called by\n\nthe method of the class",
        "the function ob ject is called bythe method\nof the class\n",
        "the fun-\nctioon object is called by the method of the class",
    ],
    ids=["lines", "divided and paragraphs", "blanks", "beside a hyphen"],
)
def test_mistakes_are_put_right_and_the_layout_stays(small_prior: TokenPrior, read: str) -> None:
    found = restored(small_prior, read)
    joined = found.replace("-\n", "").replace("\n\n", " ").replace("\n", " ").strip()
    assert joined == CLEAN
    assert [found.count(sign) for sign in ("\n", "-\n")] == [
        read.count(sign) for sign in ("\n", "-\n")
    ]


def test_a_right_text_is_left_alone(small_prior: TokenPrior) -> None:
    text = "the function ob-\nject is called\nby the method of the class"
    assert restored(small_prior, text) == text


@pytest.mark.parametrize("foreign", ["noise", "nearest"])
def test_signs_that_the_alphabet_lacks(small_prior: TokenPrior, foreign: str) -> None:
    text = "the functi\u20acn object is called by the method"
    found = restored(small_prior, text, replace(TASK, foreign=foreign))
    assert found == (text.replace("\u20ac", "o") if foreign == "noise" else text)


def test_a_reader_that_lists_the_right_letter_is_heard(small_prior: TokenPrior) -> None:
    """The same doubtful letter with and without its true reading among the others."""
    text = "the class of x is called by the method"
    place = text.index("x")
    told = []
    for other in ("a", "c"):
        variants = (Variant(place, place + 1, other, 0.9),)
        confidence = np.where(np.arange(len(text)) == place, 0.3, 0.999)
        damaged = signal_of(Document(text, confidence=confidence, variants=variants))
        task = replace(TASK, trust=1.0, other=0.99, confidence=0.0)
        result = sf.reconstruct(small_prior, task, damaged, n=1)
        (at,) = [p for p in result.alternatives if p.start <= place < p.stop]
        shares = dict(zip(map(text_of, at.readings), at.probabilities, strict=True))
        told.append(sum(p for text, p in shares.items() if "a" in text))
    assert told[0] > told[1]


HOCR = """<?xml version="1.0" encoding="UTF-8"?>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body>
<div class='ocr_page'><p class='ocr_par'><span class='ocr_line'>
 <span class='ocrx_word' title='x_wconf 95'>the</span>
 <span class='ocrx_word' title='x_wconf 60'>functon</span>
 <span class='ocrx_word' title='x_wconf 70'>ob-</span></span><span class='ocr_line'>
 <span class='ocrx_word' title='x_wconf 60'>jject</span> <!-- kept -->
 <span class='ocrx_word' title='x_wconf 95'>is</span>
 <span class='ocrx_word' title='x_wconf 40'>calledby</span>
 <span class='ocrx_word' title='x_wconf 95'>the</span>
 <span class='ocrx_word' title='x_wconf 50'>method</span>
</span></p></div></body></html>
"""
ALTO = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Layout><Page ID="p"><PrintSpace>
<TextBlock ID="b"><TextLine ID="l"><String CONTENT="the" WC="0.95"/><SP/>
<String CONTENT="functon" WC="0.6"/><SP/><String CONTENT="ob" WC="0.7"/><HYP CONTENT="-"/>
</TextLine><TextLine ID="m"><String CONTENT="jject" WC="0.6"/><SP/><String CONTENT="is" WC="0.9"/>
<SP/><String CONTENT="calledby" WC="0.4"/><SP/><String CONTENT="the" WC="0.95"/><SP/>
<String CONTENT="method" WC="0.5"/></TextLine></TextBlock></PrintSpace></Page></Layout></alto>
"""
PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"><Page>
<TextRegion id="r"><TextLine id="l"><TextEquiv conf="0.6"><Unicode>the functon ob-</Unicode>
</TextEquiv></TextLine><TextLine id="m"><TextEquiv conf="0.6">
<Unicode>jject is calledby the method</Unicode></TextEquiv></TextLine></TextRegion></Page></PcGts>
"""


@pytest.mark.parametrize(
    ("suffix", "page"),
    [(".hocr", HOCR), (".xml", ALTO), (".xml", PAGE)],
    ids=["hocr", "alto", "page"],
)
def test_a_page_comes_back_as_the_same_file_with_its_words_put_right(
    small_prior: TokenPrior, tmp_path: Path, suffix: str, page: str
) -> None:
    path = tmp_path / f"page{suffix}"
    path.write_text(page)
    plugin = sf.load_plugin("text")
    result = sf.reconstruct(small_prior, TASK, plugin.read(path), n=1)
    assert text_of(result.estimate) == "the function ob-\nject is called by the method"
    result.save(tmp_path / "out")
    written = tmp_path / "out" / f"restored{suffix}"
    right = page.replace("functon", "function").replace("jject", "ject")
    assert written.read_text() == right.replace("calledby", "called by")
    assert document_of(plugin.read(written)).text == text_of(result.estimate)


@pytest.mark.parametrize("edits", [True, False])
def test_what_is_made_has_lost_and_surplus_characters_where_they_are_allowed(edits: bool) -> None:
    text = "the function object is called by the method\n" * 20
    task = DenoiseOCR(rate=0.05, lost=0.1, inserted=0.02, edits=edits)
    made = text_of(task.degrade(sf.Signal(codes_of(text)), seed=1).data)
    # 86 of 860 are lost and 18 made up; five standard deviations are 49
    assert (len(text) - len(made) > 68 - 49) if edits else len(made) == len(text)
    assert made.count("\n") == 20


def test_runs_leave_the_layout_out_and_know_where_all_stands() -> None:
    text = "one two-\n three\n\nBeth-\n4 e\u0301\n"
    (run,) = runs(Document(text), most=100)
    assert run.signs == f"one twothree{BREAK}Beth-{BREAK}4 \u00e9"
    for sign, (start, end) in zip(run.signs, run.places, strict=True):
        assert sign == BREAK or text[start:end] in (sign, "e\u0301")
    assert run.hidden(run.signs.index("three")) == (7, 10)
    assert [k for k in range(len(run.signs)) if run.hidden(k)] == [run.signs.index("three")]


def test_long_pages_are_cut_at_line_ends_and_nothing_is_left_out() -> None:
    lines = [f"line {number} of a page" for number in range(30)]
    found = runs(Document("\n".join(lines)), most=60)
    assert [line for run in found for line in run.signs.split(BREAK)] == lines
    assert all(60 <= len(run.signs) < 60 + 25 for run in found[:-1])


def test_every_place_gets_the_reading_of_most_draws() -> None:
    """No draw is right everywhere, but most are right at each place."""
    own = "tbe cat rnay sxt"
    right = "the cat may sit"
    draws = ["tbe cat may sit", "the cat rnay sit", "the cat may sxt"]
    found = votes(own, draws)
    text, last = "", 0
    for vote in found:
        text += own[last : vote.start] + vote.best
        last = vote.end
        assert vote.odds == pytest.approx(2 / 3)
    assert text + own[last:] == right
