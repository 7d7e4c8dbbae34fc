"""Wrong, lost and surplus characters are put right, and right ones are left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato as sf
from sfumato.errors import InvalidOptionError, UnknownNameError
from sfumato.token_priors import TokenPrior
from sfumato_text.files.documents import codes_of, text_of
from sfumato_text.metrics import cer_reduction, over_correction
from sfumato_text.operators import DenoiseOCR, Respell, Restore
from sfumato_text.operators.restore import Restore as Plain

CLEAN = "the function object is called by the method\n"
NOISY = "the functoon object is calked by the methud\n"
EDITED = "the functon object is caalled by the mehtod\n"


def signal(text: str) -> sf.Signal:
    return sf.Signal(codes_of(text))


def test_wrong_characters_are_put_right(small_prior: TokenPrior) -> None:
    result = sf.reconstruct(small_prior, Restore(rate=0.05), signal(NOISY), n=2)
    assert text_of(result.estimate) == CLEAN
    changed = [i for i, (a, b) in enumerate(zip(CLEAN, NOISY, strict=True)) if a != b]
    assert result.altered.nonzero()[:, 0].tolist() == changed
    assert float(result.misfit[0]) == pytest.approx(3 / 43)  # a line end is never noise
    assert result.consistent


def test_marginals_are_those_of_bayes(small_prior: TokenPrior) -> None:
    """One doubtful character between certain ones has its enumerated posterior."""
    from sfumato.denoisers.sequential import walk
    from sfumato.inverse.tokens.histories import chain_of
    from sfumato_text.channels import uniform

    alphabet = small_prior.codec.alphabet
    text = "is called b"
    chain = chain_of(small_prior.denoiser)
    assert chain is not None
    codes = small_prior.codec.encode(text)
    rows = [codes.clone() for _ in alphabet]
    for v, row in enumerate(rows):
        row[4] = v
    prior = torch.tensor([float(r.sum()) for r in walk(chain, [x.numpy() for x in rows])])
    like = uniform(0.2).sites([text[4]], alphabet)[0]
    exact = (prior + like).softmax(dim=0)
    posed = Restore(rate=0.2).pose(signal(text), small_prior)
    sites = posed.parts[0].sites.clone()
    for place, token in enumerate(codes.tolist()):
        if place != 4:
            sites[place] = -torch.inf
            sites[place, token] = 0
    from sfumato.inverse.tokens.lattice import Lattice
    from sfumato.inverse.tokens.problems import TokenProblem
    from sfumato.noise import Streams

    found = Lattice(beam=5000, floor=0)(
        TokenProblem(small_prior.denoiser, sites[None]), Streams.count(0, 1)
    )
    assert found.marginals is not None
    torch.testing.assert_close(found.marginals[0, 4], exact.double(), atol=1e-4, rtol=0)


def test_the_rate_is_found_with_the_prior(small_prior: TokenPrior, corpus: str) -> None:
    clean = signal(corpus[5000:5600])
    damaged = Restore(rate=0.1).degrade(clean, seed=0)
    true = float((damaged.data != clean.data).double().mean())
    task = Restore()
    posed = task.pose(damaged, small_prior)
    (note,) = posed.notes
    found = float(note.rpartition(" ")[2])
    assert found == pytest.approx(true, abs=0.03)  # 60 errors of 600; some are undone by chance


def test_restoring_lowers_the_error_and_hardly_touches_what_is_right(
    small_prior: TokenPrior, corpus: str
) -> None:
    clean = corpus[7000:7400]
    task = Restore(rate=0.1)
    damaged = task.degrade(signal(clean), seed=3)
    result = sf.reconstruct(small_prior, task, damaged, n=1)
    estimate, noisy = text_of(result.estimate), text_of(damaged.data)
    assert cer_reduction(noisy, estimate, clean) > 0.5
    assert over_correction(noisy, estimate, clean) < 0.02


@pytest.mark.parametrize("task", [Restore(rate=0.05), Respell(rate=0.03, lost=0.03, inserted=0.03)])
def test_below_the_stated_confidence_the_input_stays(small_prior: TokenPrior, task: Plain) -> None:
    """The guard keeps exactly the changes that are as probable as it asks."""
    from dataclasses import replace

    text = "the objexts are xalled by thq metjod"
    bold = sf.reconstruct(small_prior, replace(task, confidence=0.0), signal(text), n=1)
    careful = sf.reconstruct(small_prior, replace(task, confidence=0.9), signal(text), n=1)
    never = sf.reconstruct(small_prior, replace(task, confidence=1 - 1e-9), signal(text), n=1)
    assert text_of(bold.estimate) != text
    if isinstance(task, Respell):
        return
    assert text_of(never.estimate) == text
    sure = bold.altered & (bold.confidence >= 0.9)
    assert torch.equal(careful.altered, sure)
    kept = ~careful.altered
    assert text_of(careful.estimate[kept]) == text_of(codes_of(text)[kept])


def test_replaced_lost_and_surplus_characters_are_put_right(small_prior: TokenPrior) -> None:
    task = Respell(rate=0.03, lost=0.03, inserted=0.03)
    result = sf.reconstruct(small_prior, task, signal(EDITED), n=3)
    assert text_of(result.estimate) == CLEAN
    for place in result.alternatives:
        assert torch.equal(result.estimate[place.start : place.stop], place.readings[0])
    assert torch.equal(
        sf.reconstruct(small_prior, task, signal(EDITED), n=1).samples[0], result.samples[0]
    )


@pytest.mark.parametrize(
    "text", ["the objec", "he object", "is called by the methodd", "iss called"], ids=repr
)
def test_edits_at_the_ends_are_no_harm(small_prior: TokenPrior, text: str) -> None:
    task = Respell(rate=0.02, lost=0.05, inserted=0.05, confidence=0.0)
    result = sf.reconstruct(small_prior, task, signal(text), n=1)
    assert abs(len(result.estimate) - len(text)) <= 3
    assert len(result.confidence) == len(result.estimate)


def test_respelling_needs_a_chain(small_prior: TokenPrior) -> None:
    from sfumato.token_priors import Expert, TokenPrior
    from sfumato_text.backbones.towers import Towers

    tokens = small_prior.process.tokens
    options = {"tokens": tokens, "width": 8, "layers": 1, "heads": 1, "hidden": 16}
    network = TokenPrior.of(
        [Expert("towers", Towers(**options), options)], small_prior.process, small_prior.codec,
        plugin="text",
    )  # fmt: skip
    with pytest.raises(sf.errors.UnsupportedError, match="chain of histories"):
        sf.reconstruct(network, Respell(), signal(CLEAN))


def test_foreign_characters_are_refused_kept_or_taken_for_noise(small_prior: TokenPrior) -> None:
    damaged = signal("the function obj€ct is called by the method\n")
    with pytest.raises(InvalidOptionError, match=r"U\+20AC"):
        sf.reconstruct(small_prior, Restore(rate=0.05), damaged)
    noise = sf.reconstruct(small_prior, Restore(rate=0.05, foreign="noise"), damaged, n=1)
    assert text_of(noise.estimate) == CLEAN
    capital = signal("The function object is called by the method\n")
    kept = sf.reconstruct(small_prior, Restore(rate=0.05, foreign="nearest"), capital, n=1)
    assert text_of(kept.estimate) == "T" + CLEAN[1:]


def test_records_are_restored_one_by_one(small_prior: TokenPrior, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"n": 1, "text": "is calked by"}\n{"n": 2, "text": "the methud of"}\n')
    result = sf.reconstruct(small_prior, Restore(rate=0.05), sf.load_plugin("text").read(path), n=1)
    assert result.record["parts"] == 2
    result.save(tmp_path / "out")
    assert (tmp_path / "out" / "restored.jsonl").read_text() == (
        '{"n": 1, "text": "is called by"}\n{"n": 2, "text": "the method of"}\n'
    )


WRONG = {
    "no text": (Restore(), " \n", "there is no text in it"),
    "gaps": (Restore(), [116, -1, 101], "it has gaps"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_restored_is_refused(small_prior: TokenPrior, case: str) -> None:
    task, data, expected = WRONG[case]
    given = signal(data) if isinstance(data, str) else sf.Signal(torch.tensor(data))
    with pytest.raises(InvalidOptionError, match=expected):
        sf.reconstruct(small_prior, task, given)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (Restore, {"rate": 0.0}), (Restore, {"confidence": 1.0}), (Restore, {"readings": 0}),
        (Restore, {"channel": "telegraph"}), (Restore, {"foreign": "translate"}),
        (Respell, {"lost": 0.7}), (Respell, {"most": 0}),
        (DenoiseOCR, {"trust": 2.0}), (DenoiseOCR, {"other": -1.0}),
        (DenoiseOCR, {"lost": 0.7}), (DenoiseOCR, {"most": 0}),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_make_no_sense_are_refused_when_they_are_given(
    kind: type, options: dict[str, object]
) -> None:
    with pytest.raises((InvalidOptionError, UnknownNameError)):
        kind(**options)


HOCR = """<?xml version="1.0" encoding="UTF-8"?>
<html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head><body>
<div class='ocr_page' title='bbox 0 0 9 9'><p class='ocr_par'><span class='ocr_line'>
 <span class='ocrx_word' title='x_wconf 95'>the</span>
 <span class='ocrx_word' title='x_wconf 95'>function</span>
 <span class='ocrx_word' title='x_wconf 95'>object</span>
 <span class='ocrx_word' title='x_wconf 95'>is</span>
 <span class='ocrx_word' title='x_wconf 40'>ca1led</span>
 <span class='ocrx_word' title='x_wconf 96'>by</span> <!-- kept -->
 <span class='ocrx_word' title='x_wconf 96'>the</span>
 <span class='ocrx_word' title='x_wconf 50'>methcd</span>
</span></p></div></body></html>
"""
ALTO = """<?xml version="1.0" encoding="UTF-8"?>
<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><Layout><Page ID="p"><PrintSpace>
<TextBlock ID="b"><TextLine ID="l"><String CONTENT="the" WC="0.95"/><SP/>
<String CONTENT="object" WC="0.95"/><SP/><String CONTENT="is" WC="0.9"/><SP/>
<String CONTENT="ca1led" WC="0.4"/><SP/><String CONTENT="by" WC="0.9"/><SP/>
<String CONTENT="the" WC="0.95"/><SP/><String CONTENT="methcd" WC="0.5"/></TextLine></TextBlock>
</PrintSpace></Page></Layout></alto>
"""
PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2019-07-15"><Page>
<TextRegion id="r"><TextLine id="l"><TextEquiv conf="0.6">
<Unicode>the object is ca1led by the methcd</Unicode></TextEquiv></TextLine></TextRegion>
</Page></PcGts>
"""


@pytest.mark.parametrize(
    ("suffix", "page"),
    [(".hocr", HOCR), (".xml", ALTO), (".xml", PAGE)],
    ids=["hocr", "alto", "page"],
)
def test_a_page_comes_back_as_the_same_file_with_its_letters_put_right(
    small_prior: TokenPrior, tmp_path: Path, suffix: str, page: str
) -> None:
    path = tmp_path / f"page{suffix}"
    path.write_text(page)
    plugin = sf.load_plugin("text")
    task = plugin.operator("denoise-ocr", rate=0.05)
    result = sf.reconstruct(small_prior, task, plugin.read(path), n=1)
    result.save(tmp_path / "out")
    restored = (tmp_path / "out" / f"restored{suffix}").read_text()
    expected = page.replace("ca1led", "called").replace("methcd", "method")
    assert restored.replace(" ", "") == expected.replace(" ", "") or restored == expected


def test_what_the_reader_is_sure_of_is_harder_to_change(small_prior: TokenPrior) -> None:
    """The same text with a low and a high confidence of its doubtful letter."""
    from sfumato_text.files.documents import Document, signal_of

    text = "the object is caqled by the method"
    place = text.index("q")
    told = []
    for sure in (0.3, 0.999999):
        confidence = np.full(len(text), 0.99)
        confidence[place] = sure
        damaged = signal_of(Document(text, confidence=confidence))
        task = DenoiseOCR(rate=0.02, trust=1.0, confidence=0.0, edits=False)
        result = sf.reconstruct(small_prior, task, damaged, n=1)
        (table,) = [p for p in result.alternatives if p.start == place] or [None]
        kept = 1.0 if table is None else dict(
            zip(map(text_of, table.readings), table.probabilities, strict=True)
        ).get("q", 0.0)  # fmt: skip
        told.append(kept)
    assert told[0] < told[1]
