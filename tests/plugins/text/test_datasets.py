"""Corpora: what is read, what is held out, and that windows depend on their generator only."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from sfumato.errors import InvalidOptionError, UnreadableFileError
from sfumato.training.configs import TrainConfig
from sfumato.training.feeds import Data, Share, batches
from sfumato_text.corpora import pydoc, read_pairs, read_texts
from sfumato_text.datasets import Texts, split_blocks
from sfumato_text.files.documents import text_of
from sfumato_text.tokenisers import Characters, Subwords

LINES = [f"line {number:03d} of a corpus" for number in range(400)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A text, a packed one in a sub-folder, JSON lines, a table, and what is no text."""
    root = tmp_path / "corpus"
    (root / "inner").mkdir(parents=True)
    (root / "a.txt").write_text("\n".join(LINES))
    (root / "inner" / "b.md.gz").write_bytes(gzip.compress(b"packed text\r\nof two lines"))
    rows = [{"id": k, "text": f"record {k}"} for k in range(3)]
    (root / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "d.csv").write_text("n,verse\n1,in a table\n")
    (root / "picture.png").write_bytes(b"\x89PNG")
    return root


def test_all_texts_below_a_folder_are_read(folder: Path) -> None:
    found = {Path(piece.name).name: piece.text for piece in read_texts(folder)}
    assert found == {
        "a.txt": "\n".join(LINES),
        "b.md.gz": "packed text\nof two lines",
        "c.jsonl": "record 0\nrecord 1\nrecord 2",
        "d.csv": "in a table",
    }


def test_patterns_and_fields_choose(folder: Path) -> None:
    (piece,) = read_texts(folder / "*.csv", field="n")
    assert piece.text == "1"


def test_what_a_pattern_drops_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "verses.txt"
    path.write_text("Ge1:1 In the beginning\nGe1:2 And the earth")
    (piece,) = read_texts(path, drop=r"^\S+ ")
    assert piece.text == "In the beginning\nAnd the earth"
    with pytest.raises(InvalidOptionError, match="at 0"):
        read_texts(path, drop="(")


def test_a_corpus_without_files_is_built_in() -> None:
    assert len(pydoc()) > 300_000
    assert "The following" in pydoc()
    data = Texts("pydoc", length=64)
    assert len(data) > 4000


def test_every_twentieth_block_of_twenty_lines_is_held_out() -> None:
    text = "\n".join(str(number) for number in range(1000))
    train, held = split_blocks([text])
    kept = {int(line) for stretch in train for line in stretch.split()}
    out = {int(line) for stretch in held for line in stretch.split()}
    assert out == {*range(380, 400), *range(780, 800)}
    assert kept == set(range(1000)) - out
    assert len(train) == 3


def test_stretches_end_where_a_text_does() -> None:
    train, held = split_blocks(["a\nb", "c\nd"], block=1, validation=0.25)
    assert (train, held) == (["a\nb", "c\n"], ["d"])


def test_small_corpora_are_held_out_in_part_too() -> None:
    assert split_blocks(["0123456789"], validation=0.2) == (["01234567"], ["89"])
    assert split_blocks(["a\nb\n"], block=1) == (["a\n"], ["b\n"])
    assert split_blocks(["a\nb\n"], block=1, validation=0) == (["a\nb\n"], [])


def test_no_window_holds_held_out_text(folder: Path) -> None:
    data = Texts(folder / "a.txt", length=40, block=10, validation=0.1)
    other = data.validation()
    assert other is not None
    lines = {line for line in other.text.splitlines() if len(line) == len(LINES[0])}
    assert len(lines) == 40
    for index in range(len(data)):
        window = text_of(data.item(index, torch.Generator().manual_seed(index)))
        assert not any(line in window for line in lines)


def test_windows_depend_on_their_generator_only(folder: Path) -> None:
    data = Texts(folder, length=50)
    one = data.item(3, torch.Generator().manual_seed(7))
    data.item(5, torch.Generator().manual_seed(8))
    assert torch.equal(one, data.item(3, torch.Generator().manual_seed(7)))
    assert not torch.equal(one, data.item(3, torch.Generator().manual_seed(9)))


def test_windows_without_a_generator_follow_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("abcdefghij")
    data = Texts(tmp_path / "a.txt", length=3, validation=0)
    assert [text_of(data[k]) for k in range(len(data))] == ["abc", "def", "ghi"]


def test_random_windows_cover_a_stretch_evenly(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0123456789")
    data = Texts(tmp_path / "a.txt", length=2, validation=0)
    generator = torch.Generator().manual_seed(0)
    n = 1800
    starts = [int(text_of(data.item(k % 5, generator))[0]) for k in range(n)]
    counts = torch.bincount(torch.tensor(starts), minlength=9).double()
    chi2 = float(((counts - n / 9) ** 2 / (n / 9)).sum())
    assert len(counts) == 9
    assert chi2 < 26.1  # 99.9 % of χ² with 8 degrees of freedom


def test_tokens_come_from_the_tokeniser(folder: Path) -> None:
    tokeniser = Characters.from_text("\n".join(LINES))
    data = Texts(folder / "a.txt", length=30, codec=tokeniser)
    assert data[0].dtype == torch.long
    assert tokeniser.decode(data[0]) == "\n".join(LINES)[:30]


def test_characters_that_a_tokeniser_lacks_are_named(folder: Path) -> None:
    with pytest.raises(InvalidOptionError, match="U\\+006C"):
        Texts(folder / "a.txt", codec=Characters(tuple("abc")))


@pytest.mark.parametrize("kind", ["code points", "subwords"])
def test_short_records_are_joined_until_a_window_is_full(tmp_path: Path, kind: str) -> None:
    rows = [f"record number {k}" for k in range(200)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    tokeniser = Subwords.train("\n".join(rows), size=300) if kind == "subwords" else None
    data = Texts(tmp_path / "a.jsonl", length=40, codec=tokeniser, block=1)
    other = data.validation()
    assert other is not None
    found = data.text.split("\n") + other.text.split("\n")
    assert sorted(found) == sorted(rows)


def test_the_data_can_be_trained_on(folder: Path) -> None:
    data = Texts(folder, length=16)
    assert isinstance(data, Data)
    config = TrainConfig(steps=2, batch=3, workers=0)
    found = list(batches(data, Share(config, 0)))
    assert [batch.x.shape for batch in found] == [(3, 16)] * 2


def test_the_card_counts_and_hashes(folder: Path) -> None:
    card = Texts(folder, length=16).card
    total = len("\n".join(LINES)) + len(
        "packed text\nof two linesrecord 0\nrecord 1\nrecord 2in a table"
    )
    assert card["files"] == 4
    assert card["characters"] + card["held_out"] == pytest.approx(total, abs=30)
    assert Texts(folder, length=16).card["sha256"] == card["sha256"]
    (folder / "a.txt").write_text("\n".join(LINES[1:]))
    assert Texts(folder, length=16).card["sha256"] != card["sha256"]


def test_pairs_come_from_fields_or_from_two_texts(tmp_path: Path) -> None:
    expected = [("teh", "the"), ("c4t", "cat")]
    table = tmp_path / "pairs.csv"
    table.write_text("source,target\nteh,the\nc4t,cat\n")
    assert read_pairs(table) == expected
    (tmp_path / "a.txt").write_text("teh\nc4t\n")
    (tmp_path / "b.txt").write_text("the\ncat")
    assert read_pairs(tmp_path / "a.txt", tmp_path / "b.txt") == expected
    (tmp_path / "b.txt").write_text("the")
    with pytest.raises(InvalidOptionError, match="2 noisy and 1 clean"):
        read_pairs(tmp_path / "a.txt", tmp_path / "b.txt")
    with pytest.raises(UnreadableFileError, match="no record has text in 'clean'"):
        read_pairs(table, target="clean")


@pytest.mark.parametrize(
    "options", [{"length": 0}, {"block": 0}, {"validation": 0.9}, {"length": 10_000}]
)
def test_options_that_make_no_sense_are_refused(folder: Path, options: dict[str, int]) -> None:
    with pytest.raises(InvalidOptionError):
        Texts(folder / "a.txt", **options)  # type: ignore[arg-type]


def test_places_without_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"no texts \(.*\.csv"):
        Texts(tmp_path)
    with pytest.raises(UnreadableFileError, match="built in: pydoc"):
        Texts(tmp_path / "missing.txt")
