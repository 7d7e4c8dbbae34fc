"""EpiDoc, ALTO, PAGE and hOCR: read with confidences, changed in place."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import UnreadableFileError
from sfumato.signals import Signal
from sfumato.testing.formats import check_format
from sfumato_text.files.documents import Document, codes_of, document_of, text_of
from sfumato_text.files.notations import UNCLEAR
from sfumato_text.files.reading import decode
from sfumato_text.files.restorations import Change, Restoration, restored_signal
from sfumato_text.formats import FORMATS, HOCR, XML, Gzip, Lines, Table, Text


def read(path: Path, content: str) -> Signal:
    path.write_bytes(content.encode())
    return (HOCR if path.suffix == ".hocr" else XML)().read(path)


def write(signal: Signal, path: Path) -> str:
    return (HOCR if path.suffix == ".hocr" else XML)().write(signal, path).read_bytes().decode()


def corrected(signal: Signal, text: str) -> Signal:
    return restored_signal(signal, Restoration.from_text(document_of(signal), text))


def test_epidoc_is_read_as_text_with_gaps(tmp_path: Path, epidoc: str) -> None:
    document = document_of(read(tmp_path / "a.xml", epidoc))
    assert document.text == "Imp Caesar\ndivi  filius А<xcos "
    found = [(gap.start, gap.minimum, gap.maximum) for gap in document.gaps]
    assert found == [(3, 4, 4), (16, 1, None), (31, 2, 5)]
    assert document.confidence is not None
    unclear = np.flatnonzero(document.confidence == UNCLEAR)
    assert "".join(document.text[k] for k in unclear) == "ae"
    assert document.notes == ("2 line(s) lost: left as they are",)


def test_restored_gaps_become_supplied_and_all_else_stays(tmp_path: Path, epidoc: str) -> None:
    signal = read(tmp_path / "a.xml", epidoc)
    rows = [[0.9] * 4, [0.4], [1.0, 1.0]]
    fills = Restoration.filled(document_of(signal), ["&bcd", "x", "yz"], probabilities=rows)
    done = write(restored_signal(signal, fills), tmp_path / "b.xml")
    expected = re.sub(
        r'<gap reason="lost" quantity="4"[^>]*>',
        '<supplied reason="lost">&amp;bcd</supplied>',
        epidoc,
    )
    expected = re.sub(
        r'<gap reason="lost" extent[^>]*>',
        '<supplied reason="lost" cert="low">x</supplied>',
        expected,
    )
    expected = re.sub(r"<gap[^>]*atMost[^>]*>", '<supplied reason="lost">yz</supplied>', expected)
    assert done == expected


def test_corrections_of_epidoc_stay_inside_their_elements(tmp_path: Path, epidoc: str) -> None:
    signal = read(tmp_path / "a.xml", epidoc)
    document = document_of(signal)
    at = document.text.index("ilius")
    change = Change(at, at + 5, "&")
    done = write(restored_signal(signal, Restoration(document, (change,))), tmp_path / "b.xml")
    assert done == epidoc.replace("ilius", "&amp;")


@pytest.mark.parametrize(
    ("attributes", "says"),
    [
        ('quantity="many" unit="character"', '<gap quantity="many"> is no length'),
        ('quantity="0" unit="character"', '<gap quantity="0"> is no length'),
        ('atLeast="5" atMost="3" unit="character"', "atMost is less than atLeast"),
    ],
)
def test_a_gap_that_does_not_parse_is_named_with_its_place(
    tmp_path: Path, epidoc: str, attributes: str, says: str
) -> None:
    content = epidoc.replace('quantity="4" unit="character"', attributes)
    with pytest.raises(UnreadableFileError) as caught:
        read(tmp_path / "a.xml", content)
    assert f"line 6, column 19: {says}" in str(caught.value)


def test_a_gap_may_be_all_of_the_last_line(tmp_path: Path) -> None:
    content = '<ab>a<lb/><gap quantity="2" unit="character"/></ab>'
    document = document_of(read(tmp_path / "a.xml", content))
    assert (document.text, document.gaps[0].start) == ("a\n", 2)


def test_approximate_and_missing_lengths_of_epidoc_are_ranges(tmp_path: Path) -> None:
    content = (
        '<ab xmlns="http://www.tei-c.org/ns/1.0">a<gap quantity="6" unit="character" '
        'precision="low"/>b<gap reason="lost" extent="3" unit="letter"/>c<gap reason="lost"/></ab>'
    )
    gaps = document_of(read(tmp_path / "a.xml", content)).gaps
    assert [(g.minimum, g.maximum) for g in gaps] == [(4, 8), (3, 3), (1, None)]


def test_alto_gives_words_confidences_and_other_readings(tmp_path: Path, alto: str) -> None:
    document = document_of(read(tmp_path / "a.xml", alto))
    assert document.text == 'Tbe cat & "d0g"\nab-\n\nend'
    assert document.confidence is not None
    np.testing.assert_allclose(document.confidence[:3], [1, 0, 6 / 9])
    np.testing.assert_allclose(document.confidence[4:15], 0.9)
    np.testing.assert_allclose(document.confidence[16:18], [0.8, 0.4])
    assert np.isnan(document.confidence[[3, 15, 18, 21]]).all()
    told = {(document.text[v.start : v.end], v.text, v.confidence) for v in document.variants}
    assert told == {("Tbe", "The", None), ("b", "h", 0.3)}


def test_alto_is_changed_in_attributes_and_glyphs(tmp_path: Path, alto: str) -> None:
    signal = read(tmp_path / "a.xml", alto)
    done = write(corrected(signal, 'The cat & "do<"\nah-\n\nend'), tmp_path / "b.xml")
    expected = (
        alto.replace('CONTENT="Tbe"', 'CONTENT="The"')
        .replace('"d0g&quot;', '"do&lt;&quot;')
        .replace('CONTENT="ab"', 'CONTENT="ah"')
        .replace('Glyph CONTENT="b"', 'Glyph CONTENT="h"')
    )
    assert done == expected


def test_page_is_read_in_reading_order_with_confidences_of_glyphs(
    tmp_path: Path, page: str
) -> None:
    document = document_of(read(tmp_path / "a.xml", page))
    assert document.text == "Title\n\nof t<he"
    assert document.confidence is not None
    np.testing.assert_allclose(document.confidence[:5], 0.9)
    np.testing.assert_allclose(document.confidence[7:9], [0.5, 0.6])
    assert [(v.start, v.end, v.text, v.confidence) for v in document.variants] == [
        (7, 9, "oi", 0.2)
    ]


def test_page_is_changed_on_every_level(tmp_path: Path, page: str) -> None:
    signal = read(tmp_path / "a.xml", page)
    done = write(corrected(signal, "Title\n\nif the"), tmp_path / "b.xml")
    expected = (
        page.replace(">o<", ">i<")
        .replace("<Unicode>of</Unicode>", "<Unicode>if</Unicode>")
        .replace("t&lt;he", "the")
        .replace("of the", "if the")
    )
    assert done == expected


def test_hocr_gives_words_and_characters_with_confidences(tmp_path: Path, hocr: str) -> None:
    document = document_of(read(tmp_path / "a.hocr", hocr))
    assert document.text == "Tbe c&t\nso"
    assert document.confidence is not None
    expected = [0.91] * 3 + [np.nan] + [0.9, 0.8, 0.7] + [np.nan] + [0.99, 0.515]
    np.testing.assert_allclose(document.confidence, expected)


def test_hocr_is_changed_in_place(tmp_path: Path, hocr: str) -> None:
    signal = read(tmp_path / "a.hocr", hocr)
    done = write(corrected(signal, "The cat\nto"), tmp_path / "b.hocr")
    expected = hocr.replace("Tbe", "The").replace("c&amp;t", "cat").replace(">s</span", ">t</span")
    assert done == expected


def test_hocr_need_not_be_well_formed(tmp_path: Path) -> None:
    content = (
        "<!DOCTYPE html><html><head><meta charset=utf-8><body><DIV class=ocr_page>"
        "<span class=\"ocr_line x\" title='bbox 0 0 1 1'>caf&eacute; cl&#244;s<br></span>\n"
        "<p class=ocr_par><span class=ocr_line>n&nbsp;x &amp y</span></div></html>\n"
    )
    signal = read(tmp_path / "a.hocr", content)
    assert document_of(signal).text == "café clôs\nn\xa0x & y"
    done = write(corrected(signal, "cafe clôt\nn\xa0x & y"), tmp_path / "b.hocr")
    assert done == content.replace("&eacute;", "e").replace("&#244;s", "&#244;t")


@pytest.mark.parametrize("letters", [True, False], ids=["with letters", "without"])
def test_choices_of_characters_are_other_readings(tmp_path: Path, letters: bool) -> None:
    # as tesseract 5.3 writes it with lstm_choice_mode=2, with and without hocr_char_boxes=1
    content = (
        "<html><body><span class='ocr_line'><span class='ocrx_word' title='x_wconf 50'>"
        + ("\n <span class='ocrx_cinfo' title='x_conf 59.5'>l</span>\n" if letters else "lt")
        + " <span class='ocrx_cinfo' id='lstm_choices_1'>\n"
        "  <span class='ocrx_cinfo' title='x_confs 60'>l</span>\n"
        "  <span class='ocrx_cinfo' title='x_confs 39'>I</span></span>\n"
        + (" <span class='ocrx_cinfo' title='x_conf 99'>t</span>\n" if letters else "")
        + " <span class='ocrx_cinfo' id='lstm_choices_2'>\n"
        "  <span class='ocrx_cinfo' title='x_confs 99'>t</span></span>\n"
        "</span></span></body></html>"
    )
    signal = read(tmp_path / "a.hocr", content)
    document = document_of(signal)
    assert document.text == "lt"
    assert document.confidence is not None
    np.testing.assert_allclose(document.confidence, [0.595, 0.99] if letters else [0.5, 0.5])
    found = [(v.start, v.text, v.confidence) for v in document.variants]
    assert found == [(0, "l", 0.6), (0, "I", 0.39), (1, "t", 0.99)]
    done = write(corrected(signal, "It"), tmp_path / "b.hocr")
    assert done == content.replace("l</span>", "I</span>", 1 if letters else 0).replace("lt", "It")


def test_words_that_are_joined_or_parted_stay_in_their_line(tmp_path: Path, alto: str) -> None:
    content = (
        '<alto xmlns="http://www.loc.gov/standards/alto/ns-v4#"><TextBlock><TextLine>'
        '<String CONTENT="th"/><SP/><String CONTENT="e"/><SP/><String CONTENT="catsat"/>'
        "</TextLine></TextBlock></alto>"
    )
    signal = read(tmp_path / "a.xml", content)
    done = write(corrected(signal, "the cat sat"), tmp_path / "b.xml")
    expected = content.replace('"th"', '"the"').replace('"e"', '""').replace("catsat", "cat sat")
    assert done == expected
    again = XML().read(tmp_path / "b.xml")
    assert text_of(again.data) == "the cat sat"


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1"])
def test_the_encoding_that_a_file_declares_is_kept(tmp_path: Path, encoding: str) -> None:
    content = f'<?xml version="1.0" encoding="{encoding}"?>\n<ab>caf\u00e9 x</ab>'.encode(encoding)
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    signal = XML().read(path)
    assert text_of(signal.data) == "café x"
    assert XML().write(signal, tmp_path / "b.xml").read_bytes() == content
    done = XML().write(corrected(signal, "café α"), tmp_path / "c.xml")
    assert text_of(XML().read(done).data) == "café α"


WRONG = {
    "cut": ("a.xml", "<ab>text", "line 1, column 9: no element found"),
    "mismatch": ("a.xml", "<ab>\n<b>text</ab>", "line 2, column"),
    "entities": (
        "a.xml", '<!DOCTYPE ab [<!ENTITY a "aaa">]><ab>&a;</ab>', "it declares entities"
    ),
    "external": (
        "a.xml", '<!DOCTYPE ab [<!ENTITY a SYSTEM "file:///etc/passwd">]><ab>&a;</ab>', "entities"
    ),
    "deep": ("a.xml", "<ab>" * 300 + "x" + "</ab>" * 300, "deep"),
    "other": ("a.xml", "<svg>text</svg>", "its first element is <svg>"),
    "no text": ("a.xml", "<ab> </ab>", "no transcription"),
    "no words": ("a.xml", "<alto><TextLine/></alto>", "no words"),
    "confidence": (
        "a.xml", '<alto><TextBlock><TextLine>\n<String CONTENT="a" WC="7"/>'
        "</TextLine></TextBlock></alto>",
        "line 2, column 1: WC: the confidence '7' is not between 0 and 1",
    ),
    "html": ("a.hocr", "<html><body><p>text</p></body></html>", "hOCR"),
    "hocr cut": ("a.hocr", "<html><body><span class='ocr_line'>te", "its end is missing"),
    "hocr cut tag": ("a.hocr", "<html><body><span class='ocr_li", "line 1, column 13"),
    "x_wconf": (
        "a.hocr", "<html><span class='ocrx_word' title='x_wconf 101'>a</span></html>", "'101'"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "says"), WRONG.values(), ids=WRONG)
def test_a_bad_file_is_an_error_that_says_where(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    with pytest.raises(UnreadableFileError) as caught:
        read(tmp_path / name, content)
    assert says in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize("suffix", [s for kind in FORMATS for s in kind.suffixes])
def test_every_format_obeys_the_laws_of_formats(tmp_path: Path, suffix: str) -> None:
    kind = next(kind for kind in FORMATS if suffix in kind.suffixes)
    signal = Signal(codes_of("In the beginning & the <end>\nof it"))
    check_format(kind(), signal, tmp_path / f"a{suffix}")


@pytest.mark.parametrize("kind", [Text, XML])
def test_a_document_with_gaps_survives_a_new_file(
    tmp_path: Path, kind: type[Text] | type[XML]
) -> None:
    from sfumato_text.files.notations import parse

    hidden = Document(" In  the\n beginning ").hide([(4, 6)]).hide([(2, 4)], known=False)
    path = kind().write(Signal(hidden.codes, {"document": hidden}), tmp_path / "a")
    found = document_of(kind().read(path))
    found = parse(found, "leiden") if kind is Text else found
    assert found.text == hidden.text
    assert [(g.start, g.minimum, g.maximum) for g in found.gaps] == [
        (g.start, g.minimum, g.maximum) for g in hidden.gaps
    ]


@pytest.mark.parametrize(
    ("suffix", "root"),
    [(".alto", "<alto "), (".page", "<PcGts "), (".tei", "<TEI "), (".xml", "<TEI ")],
)
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_a_new_file_is_what_its_suffix_says(
    tmp_path: Path, suffix: str, root: str, packed: str
) -> None:
    kind = Gzip if packed else XML
    path = kind().write(Signal(codes_of("a b")), tmp_path / f"a{suffix}{packed}")
    content = path.read_bytes()
    assert root in (gzip.decompress(content) if packed else content).decode()
    assert text_of(kind().read(path).data) == "a b"


def test_a_text_may_be_written_as_another_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two\nthree")
    signal = Text().read(tmp_path / "a.txt")
    for kind in (XML, HOCR, Lines, Table):
        path = kind().write(signal, tmp_path / f"b{kind.suffixes[0]}")
        assert text_of(kind().read(path).data) == "one two\nthree"


def spellings(text: str) -> st.SearchStrategy[str]:
    """The same number of words on the same lines, spelled otherwise."""
    word = st.text("abé<&\"'>", min_size=1, max_size=5)
    parts = [word if part.strip() else st.just(part) for part in re.split(r"(\s+)", text)]
    return st.tuples(*parts).map("".join)


@pytest.mark.parametrize("name", ["alto", "page", "hocr"])
@given(data=st.data())
@settings(max_examples=30)
def test_any_correction_of_words_is_read_again_and_nothing_else_changes(
    name: str, samples: dict[str, str], data: st.DataObject
) -> None:
    content = samples[name]
    path = Path("a.hocr" if name == "hocr" else "a.xml")
    kind = HOCR() if name == "hocr" else XML()
    document = kind.parse(decode(content.encode(), path), path)
    text = data.draw(spellings(document.text))
    signal = Signal(document.codes, {"document": document})
    written = kind.compose(corrected(signal, text))
    again = kind.parse(decode(written, path), path)
    assert again.text == text
    assert kind.compose(Signal(again.codes, {"document": again})) == written
    tags = [re.sub(r"(CONTENT=)(\"[^\"]*\"|'[^']*')", r"\1", tag) for tag in TAG.findall(content)]
    new = [re.sub(r"(CONTENT=)(\"[^\"]*\"|'[^']*')", r"\1", tag)
           for tag in TAG.findall(written.decode())]  # fmt: skip
    assert new == tags


TAG = re.compile(r"<(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>")


TEI_PARTS = st.one_of(
    st.text("ab é", min_size=1, max_size=6),
    st.sampled_from(["&amp;", "&#233;", "<lb/>", '<lb break="no"/>', "\n  ", "<!-- c -->"]),
    st.text("ab", min_size=1, max_size=3).map(lambda t: f"<unclear>{t}</unclear>"),
    st.text("ab", min_size=1, max_size=3).map(lambda t: f'<w part="N">{t}</w>'),
    st.sampled_from(
        ['<gap quantity="2" unit="character"/>', '<gap extent="unknown" unit="character"/>']
    ),
)


@given(st.lists(TEI_PARTS, min_size=1, max_size=10), st.data())
def test_any_restoration_of_epidoc_is_read_again(parts: list[str], data: st.DataObject) -> None:
    source = f"<ab>\n{''.join(parts)}</ab>"
    path = Path("a.xml")
    try:
        document = XML().parse(decode(source.encode(), path), path)
    except UnreadableFileError:
        return  # nothing but blanks
    assert XML().compose(Signal(document.codes, {"document": document})) == source.encode()
    words = st.text("xy<&", min_size=1, max_size=3)
    changes = [
        Change(gap.start, gap.start, data.draw(words), gap=number)
        for number, gap in enumerate(document.gaps)
        if data.draw(st.booleans())
    ]
    editable = np.flatnonzero(document.editable).tolist()
    letters = [k for k in editable if not document.text[k].isspace()]
    if letters:
        places = data.draw(st.sets(st.sampled_from(letters), max_size=3))
        changes += [Change(place, place + 1, data.draw(words)) for place in places]
    done = Restoration(document, tuple(changes))
    meta = {"document": document, "restoration": done}
    written = XML().compose(Signal(codes_of(done.text), meta))
    again = XML().parse(decode(written, path), path)
    assert again.text == done.text
    assert len(again.gaps) == len(document.gaps) - sum(c.gap is not None for c in changes)
