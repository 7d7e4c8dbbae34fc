"""Signs for gaps in plain text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import InvalidOptionError, UnknownNameError, UnreadableFileError
from sfumato.signals import Signal
from sfumato_text.files.documents import Document, codes_of, document_of
from sfumato_text.files.notations import UNCLEAR, ask_gaps, parse, render
from sfumato_text.files.reading import decode
from sfumato_text.files.restorations import Change, Restoration, restored_signal
from sfumato_text.formats import Text


def document(text: str, notation: str = "leiden") -> Document:
    path = Path("damaged.txt")
    return parse(Text().parse(decode(text.encode(), path), path), notation, path)


def written(restoration: Restoration, *, brackets: bool = True) -> str:
    meta = {"document": restoration.document, "restoration": restoration, "brackets": brackets}
    return Text().compose(Signal(codes_of(restoration.text), meta)).decode()


LEIDEN = {
    "a[...]b": ("ab", [(1, 3, 3)]),
    "a[. . .]b": ("ab", [(1, 3, 3)]),
    "a[…]b": ("ab", [(1, 3, 3)]),
    "[.]": ("", [(0, 1, 1)]),
    "a[---]b": ("ab", [(1, 1, None)]),
    "a[- - -]b": ("ab", [(1, 1, None)]),
    "a[– –]b[—]": ("ab", [(1, 1, None), (2, 1, None)]),
    "a[.5.]b": ("ab", [(1, 5, 5)]),
    "a[-12-]b": ("ab", [(1, 12, 12)]),
    "a[5-7]b": ("ab", [(1, 5, 7)]),
    "a[c. 6]b": ("ab", [(1, 4, 8)]),
    "a[-ca. 1-]b": ("ab", [(1, 1, 2)]),
    "a[± 3]b": ("ab", [(1, 2, 4)]),
    "a[...---]b": ("ab", [(1, 4, None)]),
    "a[..ab.]c": ("aabc", [(1, 2, 2), (3, 1, 1)]),
    "a[bc]d": ("abcd", []),
    "verse [5] and [well-known]": ("verse 5 and well-known", []),
    "⟦abc⟧ ⟦..⟧": ("abc ", [(4, 2, 2)]),
    "a[b⟦.⟧]c": ("abc", [(2, 1, 1)]),
}


@pytest.mark.parametrize(("text", "found"), LEIDEN.items(), ids=LEIDEN)
def test_leiden_signs_are_read(text: str, found: tuple[str, list[tuple[int, ...]]]) -> None:
    read = document(text)
    assert (read.text, [(g.start, g.minimum, g.maximum) for g in read.gaps]) == found


@pytest.mark.parametrize("text", ["ạbc\u0323d", "a\u0323bc\u0323d"])
def test_letters_with_a_dot_below_are_text_that_is_hard_to_read(text: str) -> None:
    read = document(text)
    assert read.text == "abcd"
    assert read.confidence is not None
    assert [c == UNCLEAR for c in read.confidence] == [True, False, True, False]
    assert written(Restoration(read)) == text
    assert written(Restoration(read, (Change(2, 3, "e"),))) == text.replace("c\u0323", "e")


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("fine\nso [... far", "line 2, column 4: '[' is never closed"),
        ("so] far", "line 1, column 3: ']' closes nothing"),
        ("a\r\n[[...]]", "line 2, column 2: '[' inside '['"),
        ("ab[]", "line 1, column 3: '[]' says nothing"),
        ("a [c. ] b", "line 1, column 4: 'c. ' has no number"),
        ("a [.0.] b", "line 1, column 4: '.0.' is no length"),
        ("a [7-5] b", "line 1, column 4: '7-5' is no length"),
        ("[a⟦b]c⟧", "line 1, column 5: ']' closes nothing"),
    ],
)
def test_signs_that_do_not_parse_are_named_with_line_and_column(text: str, where: str) -> None:
    with pytest.raises(UnreadableFileError) as caught:
        document(text)
    assert where in str(caught.value)
    assert "damaged.txt" in str(caught.value)


def test_restored_text_stands_in_the_brackets_of_its_gap() -> None:
    read = document("In the beg[......] God\r\n[---] the heaven")
    done = Restoration.filled(read, ["inning", "created"])
    assert done.text == "In the beginning God\ncreated the heaven"
    assert written(done) == "In the beg[inning] God\r\n[created] the heaven"
    assert written(done, brackets=False) == "In the beginning God\r\ncreated the heaven"


def test_gaps_that_are_not_filled_keep_their_signs() -> None:
    read = document("a[...]b[..]c")
    done = Restoration(read, (Change(2, 2, "xy", gap=1),))
    assert written(done) == "a[...]b[xy]c"


def test_a_text_with_fillings_only_is_recognised_by_what_lies_between() -> None:
    read = document("a[..]b[---]b[.]")
    done = Restoration.from_text(read, "axybzzbbq")
    assert [c.text for c in done.changes] == ["xy", "zzb", "q"]


def test_a_text_with_fillings_and_corrections_is_aligned() -> None:
    read = document("the c4t s[..]s on the mat")
    done = Restoration.from_text(read, "the cat sits on the mat")
    assert done.text == "the cat sits on the mat"
    assert written(done) == "the cat s[it]s on the mat"


def test_signs_of_ithaca_say_what_is_asked_for() -> None:
    read = document("ab??c--d#", "ithaca")
    assert read.text == "abcd"
    found = [(g.start, g.minimum, g.maximum, g.asked) for g in read.gaps]
    assert found == [(2, 2, 2, True), (3, 2, 2, False), (4, 1, None, True)]
    done = Restoration.filled(read, ["xy", "no", "end"])
    assert written(done) == "abxyc--dend"


def test_without_a_notation_brackets_are_brackets() -> None:
    assert document("a [...] b", "none").text == "a [...] b"
    with pytest.raises(UnknownNameError, match="leiden"):
        document("a", "laiden")


def test_a_text_without_gaps_is_refused_with_a_hint() -> None:
    with pytest.raises(InvalidOptionError, match=r"no gaps.*\[---\]"):
        ask_gaps(document("whole"))
    ask_gaps(document("a[.]"))


pieces = st.one_of(
    st.text("ab \n()ü", max_size=6).map(lambda text: (text, None)),
    st.integers(1, 30).map(lambda n: ("", (n, n))),
    st.integers(1, 9).map(lambda n: ("", (n, n + 3))),
    st.just(("", (1, None))),
)


@given(st.lists(pieces, max_size=8), st.sampled_from(["leiden", "ithaca"]))
def test_what_is_rendered_is_read_again(
    parts: list[tuple[str, tuple[int, int | None] | None]], notation: str
) -> None:
    from sfumato_text.files.documents import Gap

    text, gaps = "", []
    for words, bounds in parts:
        text += words
        if bounds and (notation == "leiden" or bounds[0] == bounds[1] or bounds[1] is None):
            if notation == "ithaca" and gaps and gaps[-1].start == len(text):
                continue  # signs that touch are one gap there
            gaps.append(Gap(len(text), *bounds))
    made = Document(text, tuple(gaps))
    if not render(made, notation).strip():
        return
    read = document(render(made, notation), notation)
    assert read.text == text
    assert [(g.start, g.minimum, g.maximum) for g in read.gaps] == [
        (g.start, g.minimum, g.maximum) for g in gaps
    ]
    assert read.codes.equal(made.codes)


@given(st.text("ab.[]⟦⟧-c 5ạ\n", max_size=20))
def test_any_text_is_read_or_refused_and_written_as_it_was(text: str) -> None:
    if not text.strip():
        return
    try:
        read = document(text)
    except UnreadableFileError:
        return
    assert written(Restoration(read)) == text
    fills = ["x" * gap.minimum for gap in read.gaps]
    done = Restoration.filled(read, fills)
    plain = written(done, brackets=False)
    assert plain.replace("ạ", "a") == done.text
    again = Restoration.from_text(read, done.text)
    assert again.text == done.text


def test_a_signal_with_gaps_but_no_file_is_written_with_signs(tmp_path: Path) -> None:
    hidden = Document("In the beginning").hide([(3, 6)])
    path = Text().write(Signal(hidden.codes, {"document": hidden}), tmp_path / "a.txt")
    assert path.read_text() == "In [...] beginning"
    signal = Text().read(path)
    read = parse(document_of(signal), "leiden", path)
    filled = restored_signal(signal, Restoration.filled(read, ["the"]))
    assert Text().write(filled, tmp_path / "b.txt").read_text() == "In [the] beginning"
