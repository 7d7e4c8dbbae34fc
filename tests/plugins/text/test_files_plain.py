"""Plain text, tables and packed files: what is not changed keeps its bytes."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import SfumatoError, UnreadableFileError, UnwritableFileError
from sfumato.signals import Signal
from sfumato_text import PLUGIN
from sfumato_text.files.documents import LOST, OPEN, Document, codes_of, document_of, text_of
from sfumato_text.files.restorations import Change, Restoration, restored_signal
from sfumato_text.formats import FORMATS, Gzip, Lines, Table, Text


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def changed(signal: Signal, before: str, after: str) -> Signal:
    """The signal with a word replaced wherever it stands."""
    document = document_of(signal)
    places = [i for i in range(len(document.text)) if document.text.startswith(before, i)]
    changes = tuple(Change(i, i + len(before), after) for i in places)
    return restored_signal(signal, Restoration(document, changes))


BYTES = {
    "utf-8": "naïve “text”\nsecond\n".encode(),
    "bom": b"\xef\xbb\xbfwith a mark\n",
    "utf-16": "αβγ text\r\n".encode("utf-16"),
    "crlf": b"one\r\ntwo\rthree\nfour",
    "decomposed": "ca\u0301fe\u0323 \u200d\u2028 end".encode(),
}


@pytest.mark.parametrize("content", BYTES.values(), ids=BYTES)
def test_a_text_comes_back_byte_by_byte(tmp_path: Path, content: bytes) -> None:
    signal = Text().read(write(tmp_path / "in.txt", content))
    assert Text().write(signal, tmp_path / "out.txt").read_bytes() == content


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_text_comes_back_byte_by_byte(text: str) -> None:
    content = text.encode()
    decoded = document = None
    try:
        from sfumato_text.files.reading import decode

        decoded = decode(content, Path("x"))
        document = Text().parse(decoded, Path("x"))
    except UnreadableFileError:
        assert not text.strip("\ufeff \t\r\n")
        return
    assert Text().compose(Signal(document.codes, {"document": document})) == content


def test_line_ends_of_a_file_are_kept_and_new_ones_are_like_them(tmp_path: Path) -> None:
    signal = Text().read(write(tmp_path / "in.txt", b"one\r\ntwo three\r\n"))
    assert text_of(signal.data) == "one\ntwo three\n"
    done = Text().write(changed(signal, " ", "\n"), tmp_path / "out.txt")
    assert done.read_bytes() == b"one\r\ntwo\r\nthree\r\n"


def test_only_changed_characters_are_encoded_anew(tmp_path: Path) -> None:
    content = "\ufeffca\u0301t sat\n".encode("utf-16-le")
    signal = Text().read(write(tmp_path / "in.txt", content))
    done = Text().write(changed(signal, "s", "h"), tmp_path / "out.txt")
    assert done.read_bytes() == content.replace("s".encode("utf-16-le"), "h".encode("utf-16-le"))


def test_a_text_given_as_numbers_only_is_compared_with_the_file(tmp_path: Path) -> None:
    signal = Text().read(write(tmp_path / "in.txt", b"the c4t\r\nsat\r\n"))
    other = signal.with_data(codes_of("the cat\nsat\n"))
    assert Text().write(other, tmp_path / "out.txt").read_bytes() == b"the cat\r\nsat\r\n"


def test_codes_of_a_document_say_where_gaps_are() -> None:
    document = Document.from_codes(torch.tensor([97, LOST, LOST, 98, LOST, OPEN]))
    first, second = document.gaps
    assert (document.text, first.start, first.minimum, first.maximum) == ("ab", 1, 2, 2)
    assert (second.start, second.minimum, second.maximum) == (2, 1, None)
    assert document.codes.tolist() == [97, LOST, LOST, 98, LOST, OPEN]


def test_hidden_ranges_become_gaps_of_their_length() -> None:
    document = Document("abcdefgh").hide([(6, 8), (1, 3)])
    assert document.text == "adef"
    assert [(g.start, g.minimum, g.maximum) for g in document.gaps] == [(1, 2, 2), (4, 2, 2)]
    assert Restoration.filled(document, ["bc", "gh"]).text == "abcdefgh"


ROWS = [
    {"id": 1, "text": 'He said "hi",\nand left', "n": [1, {"text": "not this"}], "z": None},
    {"id": 2, "text": "é \u2028 \U0001f600 \\ /", "n": {"a": "}"}},
    {"id": 3, "text": "", "other": "kept"},
]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_json_lines_keep_all_but_the_changed_characters(
    tmp_path: Path, ascii_only: bool, end: str
) -> None:
    content = "".join(json.dumps(row, ensure_ascii=ascii_only) + end for row in ROWS)
    signal = Lines().read(write(tmp_path / "in.jsonl", content))
    assert text_of(signal.data) == "\n".join(str(row["text"]) for row in ROWS)
    assert Lines().write(signal, tmp_path / "same.jsonl").read_bytes() == content.encode()
    done = Lines().write(changed(signal, "hi", '"é\\'), tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in done.read_bytes().decode().split(end) if line]
    assert rows[0] == {**ROWS[0], "text": 'He said ""é\\",\nand left'}
    assert rows[1:] == ROWS[1:]


def test_a_table_keeps_all_but_the_changed_cells(tmp_path: Path) -> None:
    content = 'id;text;note\r\n1;"a ""b"" c;d";x\r\n2;plain;"y\r\nz"\r\n'
    signal = Table().read(write(tmp_path / "in.csv", content))
    assert text_of(signal.data) == 'a "b" c;d\nplain'
    assert Table().write(signal, tmp_path / "same.csv").read_bytes() == content.encode()
    done = Table().write(changed(signal, "a", 'p;"q'), tmp_path / "out.csv").read_bytes().decode()
    rows = list(csv.reader(io.StringIO(done, newline=""), delimiter=";"))
    assert rows == [
        ["id", "text", "note"], ["1", 'p;"q "b" c;d', "x"], ["2", 'plp;"qin', "y\r\nz"]
    ]  # fmt: skip


def test_a_column_is_found_by_name_or_because_it_is_the_only_one(tmp_path: Path) -> None:
    path = write(tmp_path / "in.tsv", "line\tcontent\na\tb\n")
    assert text_of(Table().read(path).data) == "b"
    assert text_of(Table(field="line").read(path).data) == "a"
    other = write(tmp_path / "in.jsonl", '{"n": 1, "verse": "v"}\n')
    assert text_of(Lines().read(other).data) == "v"


def test_records_say_where_each_begins_and_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", '{"text": "ab"}\n{"text": "cde"}\n')
    document = document_of(Lines().read(path))
    assert document.records == ((0, 2), (3, 6))
    assert document.editable.tolist() == [True, True, False, True, True, True]


@pytest.mark.parametrize("name", ["a.txt.gz", "a.jsonl.gz", "a.csv.gz", "a.gz"])
def test_packed_files_are_like_the_files_in_them(tmp_path: Path, name: str) -> None:
    content = {"jsonl": b'{"text": "ab"}\n', "csv": b"text\r\nab\r\n"}.get(
        name.split(".")[1], b"ab"
    )
    signal = Gzip().read(write(tmp_path / name, gzip.compress(content)))
    assert text_of(signal.data) == "ab"
    done = Gzip().write(changed(signal, "b", "c"), tmp_path / f"out-{name}")
    assert gzip.decompress(done.read_bytes()) == content.replace(b"ab", b"ac")


def test_options_reach_what_is_packed(tmp_path: Path) -> None:
    rows = gzip.compress('{"text": "a", "body": "\xe9b"}\n'.encode("latin-1"))
    path = write(tmp_path / "a.jsonl.gz", rows)
    assert text_of(PLUGIN.read(path, field="body", encoding="latin-1").data) == "\xe9b"
    plain = write(tmp_path / "a.txt.gz", gzip.compress(b"ab"))
    with pytest.raises(UnreadableFileError, match="have no field"):
        PLUGIN.read(plain, field="body")


WRONG = {
    "empty": ("a.txt", b"", "empty"),
    "blank": ("a.txt", b" \n\t ", "nothing in it but blanks"),
    "latin": ("a.txt", "first\nna\u00efve".encode("latin-1"), "0xEF at line 2, column 3"),
    "binary": ("a.txt", b"abc\0def", "NUL character at line 1, column 4"),
    "utf-16 unmarked": ("a.txt", "a long enough äö text".encode("utf-16-le"), "UTF-16"),
    "cut gzip": ("a.txt.gz", gzip.compress(b"some text" * 50)[:-12], "not a whole gzip file"),
    "no gzip": ("a.txt.gz", b"plain text", "not a whole gzip file"),
    "packed nothing": ("a.txt.gz", gzip.compress(b""), "empty"),
    "json": ("a.jsonl", b'{"text": "a"}\n{"text": "b",}\n', "line 2, column"),
    "json list": ("a.jsonl", b'["text"]\n', "line 1, column 1"),
    "no field": ("a.jsonl", b'{"p": "a", "q": "b"}\n', "p, q"),
    "only numbers": ("a.jsonl", b'{"p": 1}\n', "which field"),
    "open quotes": ("a.csv", b'text,n\n"a,1\n', "line 2, column 1: these quotes never end"),
    "ragged": ("a.csv", b"text,n\na,1\nb\n", "line 3, column 1: 1 cells, but 2 columns"),
    "after quotes": ("a.csv", b'text,n\n"a"b,1\n', "line 2, column 4"),
    "unknown inside": ("a.png.gz", gzip.compress(b"x"), "suffix '.png.gz'"),
}


@pytest.mark.parametrize(("name", "content", "says"), WRONG.values(), ids=WRONG)
def test_a_bad_file_is_an_error_that_says_where(
    tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    path = write(tmp_path / name, content)
    kind = next(kind for kind in FORMATS if path.suffix in kind.suffixes)
    with pytest.raises(UnreadableFileError, match=r"cannot read") as caught:
        kind().read(path)
    assert says in str(caught.value)
    assert path.name in str(caught.value)


def test_an_unknown_encoding_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"text")
    with pytest.raises(UnreadableFileError, match="unknown encoding 'klingon'"):
        Text(encoding="klingon").read(path)


def test_a_named_encoding_is_used_and_kept(tmp_path: Path) -> None:
    content = "naïve".encode("cp1252")
    signal = Text(encoding="cp1252").read(write(tmp_path / "a.txt", content))
    assert text_of(signal.data) == "naïve"
    assert Text().write(signal, tmp_path / "b.txt").read_bytes() == content


def test_nothing_is_left_behind_by_a_write_that_fails(tmp_path: Path) -> None:
    blocked = write(tmp_path / "file", b"x") / "out.txt"
    with pytest.raises(UnwritableFileError):
        Text().write(Signal(codes_of("text")), blocked)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_packed_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato_text.files.reading.LIMIT", 1 << 16)
    path = write(tmp_path / "a.txt.gz", gzip.compress(b"a" * (1 << 20)))
    with pytest.raises(UnreadableFileError, match="more than"):
        Gzip().read(path)


words = st.text('ab c\n"\\,;é\r<&', max_size=12)


@given(st.lists(words, min_size=1, max_size=4), st.data())
def test_random_corrections_reach_every_kind_of_record(
    rows: list[str], data: st.DataObject
) -> None:
    if not any(row.strip() for row in rows):
        return
    content = "".join(json.dumps({"k": 1, "text": row}) + "\n" for row in rows)
    from sfumato_text.files.reading import decode

    document = Lines().parse(decode(content.encode(), Path("x.jsonl")), Path("x.jsonl"))
    new = [data.draw(words) if row else "" for row in rows]
    changes = tuple(
        Change(start, end, text)
        for (start, end), text, old in zip(document.records, new, rows, strict=True)
        if old
    )
    restoration = Restoration(document, changes)
    meta = {"document": document, "restoration": restoration}
    written = Lines().compose(Signal(codes_of(restoration.text), meta)).decode()
    assert [json.loads(line)["text"] for line in written.split("\n") if line] == new


def test_changes_that_overlap_are_refused() -> None:
    with pytest.raises(SfumatoError, match="does not fit"):
        Restoration(Document("abcdef"), (Change(0, 3, "x"), Change(2, 4, "y")))


def test_the_guard_keeps_the_input_where_a_correction_is_not_sure_enough() -> None:
    document = Document("c4t d0g")
    changes = (Change(1, 2, "a", (0.99,)), Change(5, 6, "i", (0.4,)))
    assert Restoration(document, changes).text == "cat dig"
    assert Restoration(document, changes).kept(0.9).text == "cat d0g"
