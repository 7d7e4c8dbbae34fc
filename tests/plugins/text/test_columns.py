"""Columns as corpora: Parquet, Arrow, and folders as ``datasets`` saves them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sfumato.errors import MissingDependencyError, UnreadableFileError
from sfumato_text.corpora import read_texts

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

ROWS = ["first text", None, "second\nof two lines"]
TEXT = "first text\nsecond\nof two lines"


def table(**columns: list[Any]) -> Any:
    return pyarrow.table({"id": list(range(3)), **columns})


def stream(path: Path, **columns: list[Any]) -> None:
    """An Arrow stream, as ``datasets`` writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = table(**columns)
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_stream(sink, rows.schema) as out:
        out.write_table(rows)


def dataset(folder: Path, *texts: list[Any]) -> None:
    """A folder as ``Dataset.save_to_disk`` leaves it, in several files."""
    names = [f"data-{k:05d}-of-{len(texts):05d}.arrow" for k in range(len(texts))]
    for name, rows in zip(names, texts, strict=True):
        stream(folder / name, text=rows)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def read(path: Path, field: str = "") -> list[str]:
    return [piece.text for piece in read_texts(path, field=field)]


def test_a_parquet_file_is_read_beside_other_texts(tmp_path: Path) -> None:
    parquet.write_table(table(text=ROWS), tmp_path / "b.parquet")
    (tmp_path / "a.txt").write_text("plain")
    assert read(tmp_path) == ["plain", TEXT]


@pytest.mark.parametrize("kind", ["stream", "file"])
def test_both_kinds_of_arrow_files_are_read(tmp_path: Path, kind: str) -> None:
    path, rows = tmp_path / "rows.arrow", table(verse=ROWS)
    if kind == "stream":
        stream(path, verse=ROWS)
    else:
        with pyarrow.ipc.new_file(str(path), rows.schema) as out:
            out.write_table(rows)
    assert read(path) == [TEXT]


def test_a_saved_dataset_is_read_in_its_own_order_and_without_caches(tmp_path: Path) -> None:
    dataset(tmp_path, ["b", "c", None], ["a", None, None])
    stream(tmp_path / "cache-1f.arrow", text=["x", "y", "z"])
    assert read(tmp_path) == ["b\nc", "a"]


def test_of_several_splits_the_training_split_is_read(tmp_path: Path) -> None:
    dataset(tmp_path / "test", ["held", "out", None])
    dataset(tmp_path / "train", ROWS)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["test", "train"]}')
    assert read(tmp_path) == [TEXT]
    assert read(tmp_path / "test") == ["held\nout"]


def test_a_field_chooses_among_columns_and_is_asked_for_where_none_is_usual(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    parquet.write_table(table(noisy=["a", "b", "c"], clean=["d", "e", "f"]), path)
    assert read(path, "clean") == ["d\ne\nf"]
    with pytest.raises(UnreadableFileError, match=r"not clear; .*noisy, clean"):
        read(path)
    with pytest.raises(UnreadableFileError, match="'id' holds no text"):
        read(path, "id")


@pytest.mark.parametrize("name", ["broken.parquet", "broken.arrow"])
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no columns at all")
    with pytest.raises(UnreadableFileError, match=name):
        read(tmp_path / name)


def test_a_damaged_description_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"files": []}')
    with pytest.raises(UnreadableFileError, match=r"state\.json"):
        read(tmp_path)


def test_without_pyarrow_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet.write_table(table(text=ROWS), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"^[^\n]*sfumato\[parquet\]'?$"):
        read(tmp_path)
